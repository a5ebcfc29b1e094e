"""Copies among real art: planted ones are caught, and honest drawings of the same concepts are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from emote.evaluation.images.judge import ImageJudge, judge_named
from emote.evaluation.images.measures import Drawings, Measures, shows_copies
from emote.evaluation.images.reference import Prompt
from emote.imaging.cutout import cut_out
from emote.tools.judge_eval.art import ArtSet, as_reference, by_hash, read_art
from tests.evaluation.images.judges import build_tiny_judge

COUNT, SIDE_PX = 100, 64


@pytest.fixture(scope="module")
def sets() -> tuple[ArtSet, ArtSet]:
    return read_art("openmoji", SIDE_PX), read_art("twemoji", SIDE_PX)


def drawings(sets: tuple[ArtSet, ArtSet], copies: int, shift_px: int) -> tuple[Measures, Drawings]:
    """The other style's drawings, of which so many are training images with noise, moved by so many pixels."""
    art, other = sets
    both = by_hash([concept for concept in art.images if concept in other.images])
    held, trained = both[:COUNT], both[COUNT : 2 * COUNT]
    random = np.random.default_rng(0)

    def noisy(image: Image.Image) -> Image.Image:
        moved = np.asarray(ImageChops.offset(image, shift_px, -shift_px), dtype=np.float32)
        return Image.fromarray(np.clip(moved + random.normal(0, 6, moved.shape), 0, 255).astype(np.uint8))

    def draw(concepts: Sequence[str], of: Sequence[str]) -> list[Image.Image]:
        return [
            noisy(art.images[of[row]]) if row < copies else other.images[concept]
            for row, concept in enumerate(concepts)
        ]

    prompts = [Prompt(art.names[c], art.names[c], c, c in set(held)) for c in (*held, *trained)]
    judge = ImageJudge(judge_named(str(TINY["judge"])))
    return Measures(judge, as_reference(art, held), cut_out), Drawings(
        prompts, [*draw(held, trained), *draw(trained, trained)]
    )


TINY: dict[str, Path] = {}


@pytest.fixture(scope="module", autouse=True)
def tiny_judge(tmp_path_factory: pytest.TempPathFactory) -> None:
    TINY["judge"] = build_tiny_judge(tmp_path_factory.mktemp("judge"))


@pytest.mark.slow
@pytest.mark.parametrize(("copies", "shift_px"), [(0, 0), (5, 0), (5, 2)])
def test_five_in_a_hundred_are_caught_and_honest_drawings_are_not(
    sets: tuple[ArtSet, ArtSet], copies: int, shift_px: int
) -> None:
    measures, drawn = drawings(sets, copies, shift_px)
    measured = measures.of(drawn)
    assert shows_copies(measured, drawn.prompts) == (["copies", "copies_trained"] if copies else [])
    assert measured.figures["copies"].value >= copies / COUNT
    assert measured.figures["copies_trained"].value == pytest.approx(copies / COUNT, abs=0.011)
