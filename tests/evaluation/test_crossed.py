from __future__ import annotations

import json

import numpy as np
import pytest

from emote.evaluation.crossed import compare_over_seeds
from emote.evaluation.effects import plot_effects
from emote.evaluation.paired import compare


def names(count: int) -> list[str]:
    return [f"concept {i}" for i in range(count)]


def test_means_and_differences_are_exact() -> None:
    result = compare_over_seeds([[1.0, 2.0], [3.0, 2.0]], [[0.5, 1.5], [2.0, 2.0]], ["cat", "dog"])
    assert (result.before, result.after, result.difference) == (2.0, 1.5, -0.5)
    assert result.by_seed == [-0.5, -0.5]


def test_with_one_seed_it_is_the_paired_bootstrap_over_concepts() -> None:
    random = np.random.default_rng(0)
    base, final, concepts = random.random(40), random.random(40), names(20) * 2
    result, plain = compare_over_seeds([base], [final], concepts), compare(base, final, concepts)
    assert result.interval_95 == pytest.approx(plain.interval_95)
    assert result.interval_95_these_seeds == pytest.approx(plain.interval_95)
    assert result.difference == pytest.approx(plain.difference)


def test_seeds_that_disagree_widen_the_interval_and_equal_ones_do_not() -> None:
    random = np.random.default_rng(1)
    base, effect = random.random(50), random.normal(-0.1, 0.05, 50)
    equal = compare_over_seeds([base] * 3, [base + effect] * 3, names(50))
    assert equal.interval_95 == pytest.approx(equal.interval_95_these_seeds)
    apart = compare_over_seeds([base] * 3, [base + effect + shift for shift in (-0.2, 0.0, 0.2)], names(50))
    assert np.ptp(apart.interval_95) > 5 * np.ptp(apart.interval_95_these_seeds)
    assert apart.by_seed == pytest.approx([effect.mean() - 0.2, effect.mean(), effect.mean() + 0.2])


def test_two_seeds_and_one_difference_each_can_be_counted_by_hand() -> None:
    result = compare_over_seeds([[0.0, 0.0]] * 2, [[0.0, 0.0], [1.0, 1.0]], names(2), draws=4000)
    assert result.interval_95 == (0.0, 1.0)  # 0, 1/2, 1 with chance 1/4, 1/2, 1/4
    assert result.interval_95_these_seeds == (0.5, 0.5)


def test_more_images_of_the_same_concepts_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(2)
    before, after = random.random((3, 30)), random.random((3, 30))
    once = compare_over_seeds(before, after, names(30))
    tones = compare_over_seeds(np.tile(before, 6), np.tile(after, 6), names(30) * 6)
    assert tones.interval_95 == pytest.approx(once.interval_95)


def test_a_single_concept_has_no_interval_and_the_result_is_json() -> None:
    result = compare_over_seeds([[1.0, 2.0]], [[0.5, 1.0]], ["cat", "cat"])
    assert result.interval_95 is None and result.interval_95_these_seeds is None
    assert json.loads(json.dumps(result.as_dict()))["difference"] == -0.75


def test_the_plot_shows_a_row_for_each_step(tmp_path) -> None:
    from PIL import Image

    result = compare_over_seeds([[1.0, 2.0, 1.5]] * 2, [[0.5, 1.0, 1.4], [0.7, 1.1, 1.4]], names(3))
    heights = []
    for steps in (2, 6):
        path = tmp_path / f"{steps}.png"
        plot_effects(path, names(steps), [None] + [result] * (steps - 1), [None] + [result] * (steps - 1), "title")
        heights.append(Image.open(path).height)
    assert heights[1] - heights[0] == pytest.approx(4 * 0.5 * 120, abs=2)
