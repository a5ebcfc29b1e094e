from __future__ import annotations

import math

import numpy as np
import pytest

from emote.evaluation.images.jackknife import LeaveOneOut, combine, mean_over, over_runs, ratio


def names(count: int) -> list[str]:
    return [f"concept {i}" for i in range(count)]


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 30)
    estimate = mean_over(values, names(30)).estimate()
    from scipy.stats import t

    half = t.ppf(0.975, 29) * values.std(ddof=1) / math.sqrt(30)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.interval_95 == pytest.approx((values.mean() - half, values.mean() + half))


def test_images_of_one_concept_are_left_out_together() -> None:
    figure = mean_over([1.0, 3.0, 8.0], ["cat", "cat", "dog"])
    assert figure.without == {"cat": 8.0, "dog": 2.0}


def test_many_images_of_one_concept_make_nothing_surer() -> None:
    values = np.random.default_rng(1).normal(size=20)
    once = mean_over(values, names(20)).estimate()
    often = mean_over(np.tile(values, 5), names(20) * 5).estimate()
    assert often.half_width == pytest.approx(once.half_width)


def test_a_single_concept_has_no_interval() -> None:
    estimate = mean_over([1.0, 2.0], ["cat", "cat"]).estimate()
    assert estimate.interval_95 is None and not estimate.differs_from_zero


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    base = np.random.default_rng(2).normal(size=40)
    one, other = mean_over(base, names(40)), mean_over(base + 0.1, names(40))
    difference = combine(lambda a, b: b - a, one, other).estimate()
    assert difference.value == pytest.approx(0.1) and difference.half_width < 1e-9 < one.estimate().half_width


def test_a_concept_that_a_figure_does_not_know_changes_nothing_in_it() -> None:
    found = combine(lambda a, b: a + b, LeaveOneOut(1.0, {"cat": 0.5}), LeaveOneOut(2.0, {"dog": 3.0}))
    assert found == LeaveOneOut(3.0, {"cat": 2.5, "dog": 4.0})


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(3), 0
    for _ in range(400):
        above, below = random.normal(1.0, 0.5, 40), random.normal(2.0, 0.5, 40)
        low, high = combine(ratio, mean_over(above, names(40)), mean_over(below, names(40))).estimate().interval_95 or (
            0.0,
            0.0,
        )
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_runs_that_differ_by_their_seed_add_their_variance() -> None:
    random = np.random.default_rng(4)
    base = random.normal(size=30)
    same = [mean_over(base, names(30)) for _ in range(3)]
    apart = [mean_over(base + shift, names(30)) for shift in (-0.5, 0.0, 0.5)]
    assert over_runs(same).half_width == pytest.approx(same[0].estimate().half_width, rel=1e-6)
    assert over_runs(apart).half_width > 1.5 * over_runs(same).half_width
    assert over_runs(apart).value == pytest.approx(base.mean())
