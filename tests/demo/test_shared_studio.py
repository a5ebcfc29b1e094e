from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emote.demo.catalogue import Catalogue
from emote.demo.shared_generator import SharedGenerator
from emote.inference.image_generator import Cancelled
from emote.inference.request import Request

WANTED = Request(prompt="a cat", seed=3, width=32, height=32, inference_steps=2)


@pytest.fixture
def image_generator() -> SharedGenerator:
    return SharedGenerator("cpu")


def test_adapters_of_one_base_switch_without_loading_it_again(image_generator: SharedGenerator, runs_dir: Path) -> None:
    drawn = [
        image_generator.draw(choice.model, choice.adapter, WANTED) for choice in Catalogue(runs_dir).choices.values()
    ]
    assert image_generator.loads == 1
    bases = [np.asarray(base) for base, _, _ in drawn]
    assert all((base == bases[0]).all() for base in bases)
    assert [tuned is None for _, tuned, _ in drawn] == [False, False, True]
    assert (np.asarray(drawn[0][1]) != bases[0]).any()


def test_at_scale_nought_the_adapter_draws_what_the_base_does(image_generator: SharedGenerator, runs_dir: Path) -> None:
    choice = Catalogue(runs_dir).first
    base, tuned, _ = image_generator.draw(choice.model, choice.adapter, Request(**{**vars(WANTED), "lora_scale": 0.0}))
    assert tuned is not None and (np.asarray(base) == np.asarray(tuned)).all()


def test_a_drawing_that_was_cancelled_leaves_the_studio_free(image_generator: SharedGenerator, runs_dir: Path) -> None:
    choice = Catalogue(runs_dir).first
    with pytest.raises(Cancelled):
        image_generator.draw(choice.model, choice.adapter, WANTED, cancelled=lambda: True)
    assert image_generator.draw(choice.model, choice.adapter, WANTED)[1] is not None


def test_words_that_were_not_read_are_told(image_generator: SharedGenerator, runs_dir: Path) -> None:
    choice = Catalogue(runs_dir).first
    long = Request(**{**vars(WANTED), "prompt": "x" * 200})
    assert image_generator.draw(choice.model, None, long)[2].count("x") == 200 - 30
