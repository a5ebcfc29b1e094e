from __future__ import annotations

import json
import math

import numpy as np
import pytest

from emote.evaluation.paired import compare


def losses(seed: int, count: int, effect: float = 0.0) -> tuple[list[float], list[float]]:
    """Losses before and after, whose difference is `effect` and noise of standard deviation 0.1."""
    random = np.random.default_rng(seed)
    base = random.uniform(0.5, 1.5, count)
    return base.tolist(), (base + effect + random.normal(0, 0.1, count)).tolist()


def names(count: int) -> list[str]:
    return [f"concept {i}" for i in range(count)]


def test_means_difference_and_relative_difference_are_exact() -> None:
    result = compare([1.0, 2.0, 3.0, 2.0], [0.5, 1.0, 3.0, 1.5], ["cat", "cat", "dog", "fox"])
    assert (result.base, result.final, result.difference, result.relative) == (2.0, 1.5, -0.5, -0.25)
    assert (result.items, result.concepts) == (4, 3)


@pytest.mark.parametrize(("final", "relative"), [([0.0, 1.0], math.inf), ([0.0, 0.0], 0.0), ([-1.0, 0.0], -math.inf)])
@pytest.mark.filterwarnings("error")
def test_relative_to_nothing_any_difference_is_infinite(final: list[float], relative: float) -> None:
    assert compare([0.0, 0.0], final, ["cat", "dog"]).relative == relative


def test_too_few_concepts_have_no_interval() -> None:
    assert compare([1.0, 2.0], [0.5, 1.0], ["cat", "cat"], fewest=1).interval_95 is None
    assert compare(*losses(0, 4, -0.5), names(4)).interval_95 is None
    assert compare(*losses(0, 5, -0.5), names(5)).interval_95 is not None


def test_an_improvement_that_is_the_same_everywhere_is_certain() -> None:
    result = compare([1.0, 2.0, 4.0], [0.5, 1.5, 3.5], names(3), fewest=2)
    assert result.interval_95 == (-0.5, -0.5)


def test_two_concepts_have_an_interval_that_can_be_counted_by_hand() -> None:
    result = compare(
        [0.0, 0.0], [0.0, 1.0], ["cat", "dog"], draws=2000, fewest=2
    )  # means 0, 1/2, 1 with chance 1/4, 1/2, 1/4
    assert result.interval_95 == (0.0, 1.0) and result.difference == 0.5


def test_the_interval_of_pure_noise_contains_zero_about_19_times_of_20() -> None:
    results = [compare(*losses(seed, 60), names(60), draws=500) for seed in range(60)]
    inside = sum(result.interval_95[0] <= 0 <= result.interval_95[1] for result in results)
    assert 52 <= inside <= 60


@pytest.mark.parametrize("effect", [-0.1, 0.1])
def test_the_interval_of_a_clear_effect_excludes_zero_on_its_side(effect: float) -> None:
    low, high = compare(*losses(0, 60, effect), names(60)).interval_95
    assert low < effect < high
    assert low > 0 if effect > 0 else high < 0


def test_pairing_finds_an_effect_that_is_smaller_than_the_spread_of_losses() -> None:
    base, final = losses(1, 60, -0.05)
    assert np.std(base) > 0.2
    assert compare(base, final, names(60)).interval_95[1] < 0


def test_more_images_of_the_same_concepts_do_not_narrow_the_interval() -> None:
    base, final = losses(2, 40, -0.02)
    once = compare(base, final, names(40))
    tones = compare(base * 6, final * 6, names(40) * 6)
    assert tones.interval_95 == pytest.approx(once.interval_95)
    assert (tones.items, tones.concepts) == (240, 40)
    independent = compare(base * 6, final * 6, names(240))
    width, wide = np.ptp(independent.interval_95), np.ptp(once.interval_95)
    assert width == pytest.approx(wide / 6**0.5, rel=0.1)


def test_the_same_losses_have_the_same_interval_in_any_order() -> None:
    base, final = losses(3, 30)
    result = compare(base, final, names(30))
    assert compare(base, final, names(30)) == result
    backwards = compare(base[::-1], final[::-1], names(30)[::-1])
    assert backwards.interval_95 == pytest.approx(result.interval_95)


def test_a_result_is_written_as_json() -> None:
    result = compare([1.0, 2.0], [1.0, 1.0], ["cat", "dog"], fewest=2)
    read = json.loads(json.dumps(result.as_dict()))
    assert read["interval_95"] == list(result.interval_95) and read["concepts"] == 2
