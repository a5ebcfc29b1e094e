"""Known transformations of real drawings move each measure as was expected, or as the table of surprises says."""

from __future__ import annotations

import pytest

from emote.evaluation.images.jackknife import Estimate
from emote.evaluation.images.judge import ImageJudge, judge_named
from emote.tools.judge_eval.art import read_art
from emote.tools.judge_eval.report import expected_surprises
from emote.tools.judge_eval.transformations import (
    TRANSFORMS,
    Cell,
    expected_signs,
    measure_transformations,
)

# what rests on pixels alone: any judge gives it, so this test outlives the miniature's
OF_PIXELS = ("style_mmd2", "style_kid", "copies", "copies_trained", "usable")


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value, (value - half, value + half), 9)


def test_a_sign_is_given_to_every_cell() -> None:
    signs = expected_signs()
    assert {name for name, _ in signs} == set(TRANSFORMS) and len(signs) == len(TRANSFORMS) * 12
    assert set(signs.values()) == {"+", "-", "0"}


def test_every_surprise_is_of_a_known_cell_and_explained() -> None:
    signs = expected_signs()
    for cell, (found, why) in expected_surprises().items():
        assert cell in signs and found in ("+", "-", "0") and why


def test_a_cell_is_as_expected_where_its_sign_is_and_it_moves_one_way() -> None:
    rising = (estimate(0.1, 0.2), estimate(0.4, 0.2), estimate(1.0, 0.2))
    back = (estimate(0.1, 0.2), estimate(1.5, 0.2), estimate(1.0, 0.2))
    assert Cell("blur", "drift", rising, "+").as_expected and not Cell("blur", "drift", rising, "-").as_expected
    assert not Cell("blur", "drift", back, "+").as_expected
    assert Cell("blur", "drift", (*rising[:2], estimate(0.1, 0.2)), "0").sign == "0"
    assert Cell("blur", "drift", (*rising[:2], estimate(float("nan"), float("nan"))), "0").sign == "0"


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMS)
def test_known_transformations_move_the_measures_of_pixels_as_expected(name: str) -> None:
    judge = ImageJudge(judge_named("mini"))
    cells = measure_transformations(judge, read_art("openmoji", 128), read_art("twemoji", 128), 100, [name])
    surprises = expected_surprises()
    wrong = [
        (cell.measure, cell.expected, cell.sign)
        for cell in cells
        if cell.measure in OF_PIXELS
        if cell.sign != surprises.get((name, cell.measure), (cell.expected, ""))[0]
    ]
    assert wrong == []
