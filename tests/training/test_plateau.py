"""`trainer.stop=plateau`: a run that ends where its held-out loss shows no further gain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emote.config import problems
from tests.training.test_run import adapters, losses_of, summary, validations_of

Runner = Callable[..., Path]
# a rate at which the tiny model learns nothing that an interval could show
STILL: dict[str, Any] = {"trainer.learning_rate": 1e-12, "callbacks.validation.every_steps": 1}
STOP = {"trainer.stop": "plateau", "trainer.stop_validations": 2}


def test_a_run_without_a_gain_ends_and_says_why(tiny_run: Runner) -> None:
    path = tiny_run(**STILL, **STOP)
    assert validations_of(path) == [1, 2, 3]
    found = summary(path)
    assert (found["stopped_at_step"], found["stopped_by"], found["steps_run"]) == (3, "plateau", 3)


def test_the_stop_is_a_result_for_the_same_words_and_for_more_steps(tiny_run: Runner) -> None:
    path = tiny_run(**STILL, **STOP)
    written = (path / "summary.json").stat().st_mtime_ns
    assert tiny_run(**STILL, **STOP) == path and (path / "summary.json").stat().st_mtime_ns == written
    longer = tiny_run(**STILL, **STOP, **{"trainer.max_steps": 12})
    assert (summary(longer)["stopped_at_step"], summary(longer)["steps_run"]) == (3, 0)
    assert adapters(longer)[0] == adapters(path)[0]


def test_without_the_key_the_same_run_goes_on_past_it_to_what_it_would_have_been(
    tiny_run: Runner, tmp_path: Path
) -> None:
    stopped = tiny_run(**STILL, **STOP)
    path = tiny_run(**STILL)
    assert path.parent.parent == stopped.parent.parent  # how far to go is no part of the identity
    assert "stopped_at_step" not in summary(path) and summary(path)["resumed_from_step"] == 3
    straight = tiny_run(**STILL, **{"run.dir": tmp_path / "straight"})
    assert adapters(path)[0] == adapters(straight)[0] and losses_of(path) == losses_of(straight)


def test_a_run_that_was_continued_stops_where_one_in_one_go_does(tiny_run: Runner, tmp_path: Path) -> None:
    whole = tiny_run(**STILL, **STOP)
    split = {**STILL, **STOP, "run.dir": tmp_path / "split"}
    tiny_run(**split, **{"trainer.max_steps": 2})
    assert summary(tiny_run(**split))["stopped_at_step"] == summary(whole)["stopped_at_step"] == 3


def test_it_needs_held_out_images(tiny_config: Callable[..., Any]) -> None:
    found = problems(tiny_config(**{"trainer.stop": "plateau", "data.held_out": 0}))
    assert found == ["trainer.stop=plateau needs images to ask: data.held_out must be above 0, got 0"]


@pytest.mark.parametrize("key", ["trainer.stop", "trainer.stop_validations"])
def test_where_to_stop_is_no_part_of_the_identity(key: str) -> None:
    from emote.config import RUNTIME_KEYS

    assert key in RUNTIME_KEYS
