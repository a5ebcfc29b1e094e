from __future__ import annotations

import numpy as np
import pytest

from emote.evaluation.images.jackknife import LeaveOneOut, mean_over
from emote.experiments.evaluation.strength import CurvePoint, recommend

CONCEPTS = [str(number) for number in range(100)]


def recognised(share: float) -> LeaveOneOut:
    return mean_over(np.arange(100) < share * 100, CONCEPTS)


def distance(value: float, error: float = 0.001, seed: int = 0) -> LeaveOneOut:
    random = np.random.default_rng(seed)
    return LeaveOneOut(value, {name: value + error * random.normal() / 100 for name in CONCEPTS})


def point(scale: float, kept: float, share: float, error: float = 0.001) -> CurvePoint:
    base = {"recognised_top5": recognised(0.8), "style_mmd2": distance(1.0, error)}
    figures = {"recognised_top5": recognised(0.8 * kept), "style_mmd2": distance(1.0 - share, error, 1)}
    return CurvePoint(scale, 6.0, figures, base)


def test_it_is_the_furthest_way_that_keeps_nine_tenths() -> None:
    found = recommend([point(0.5, 1.0, 0.3), point(0.75, 0.95, 0.5), point(1.0, 0.6, 0.8)])
    assert found and found.lora_scale == 0.75
    assert "keeps 95%" in found.reason and "50% of the way" in found.reason


def test_full_strength_is_recommended_where_nothing_is_lost() -> None:
    found = recommend([point(0.5, 1.0, 0.3), point(1.0, 1.0, 0.7)])
    assert found and found.lora_scale == 1.0


def test_more_strength_that_leads_away_again_is_not_recommended() -> None:
    found = recommend([point(1.0, 1.0, 0.7), point(1.25, 1.0, 0.6)])
    assert found and found.lora_scale == 1.0


def test_where_all_lose_too_much_the_best_balance_is_recommended_and_said() -> None:
    found = recommend([point(0.5, 0.5, 0.3), point(1.0, 0.4, 0.8)])
    assert found and found.lora_scale == 1.0 and "no strength keeps nine tenths" in found.reason


@pytest.mark.parametrize("points", [[], [point(1.0, 1.0, -0.1)], [point(1.0, 1.0, 0.05, error=5.0)]])
def test_nothing_is_recommended_where_no_way_is_shown(points: list[CurvePoint]) -> None:
    assert recommend(points) is None


def test_more_is_kept_than_the_base_has_counts_as_all() -> None:
    assert point(1.0, 1.25, 0.5).kept.value == 1.0
