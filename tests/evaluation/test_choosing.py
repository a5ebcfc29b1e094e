"""The smallest result that is as good as the best, as far as the images can tell."""

from __future__ import annotations

import numpy as np
import pytest

from emote.evaluation.choosing import Candidate, choose, standard_error

ALONE = [f"concept {number}" for number in range(200)]


def test_the_standard_error_of_independent_images_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert standard_error(values, ALONE) == pytest.approx(values.std(ddof=1) / np.sqrt(200))


def test_images_of_one_concept_count_once() -> None:
    values = np.random.default_rng(0).normal(size=50)
    fourfold = np.repeat(values, 4)
    concepts = [str(number // 4) for number in range(200)]
    assert standard_error(fourfold, concepts) == pytest.approx(standard_error(values, ALONE[:50]))
    assert standard_error(fourfold, ["one"] * 200) == 0


def test_the_standard_error_says_how_far_means_of_other_concepts_lie_apart() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 6, 40)
    concepts = [str(number) for number, size in enumerate(sizes) for _ in range(size)]

    def draw() -> np.ndarray:
        return np.repeat(random.normal(size=40), sizes) + random.normal(size=sizes.sum())

    means, errors = zip(*((v.mean(), standard_error(v, concepts)) for v in (draw() for _ in range(2000))), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_a_smaller_candidate_wins_where_its_difference_is_noise() -> None:
    random = np.random.default_rng(2)
    hard = random.normal(1, 0.5, 200)  # shared by all, and in no difference
    best = hard - 0.001 + random.normal(0, 0.05, 200)
    equal = hard + random.normal(0, 0.05, 200)
    worse = hard + 0.02 + random.normal(0, 0.05, 200)
    candidates = [Candidate({0: worse}, (2.0,)), Candidate({0: equal}, (4.0,)), Candidate({0: best}, (8.0,))]
    lowest, other = sorted([1, 2], key=lambda number: np.mean(candidates[number].losses[0]))
    difference = np.asarray(candidates[other].losses[0]) - np.asarray(candidates[lowest].losses[0])
    assert difference.mean() < standard_error(difference, ALONE), "the example is one of noise"
    choice = choose(candidates, ALONE)
    assert (choice.best, choice.smallest, choice.within) == (lowest, 1, [1, 2])
    # by the spread of the images themselves the worse one would have been as good
    assert (worse - candidates[lowest].losses[0]).mean() < standard_error(best, ALONE)


def test_the_best_alone_is_its_own_choice() -> None:
    assert choose([Candidate({0: [1.0, 2.0]}, (4.0,))], ["a", "a"]).smallest == 0
    assert choose([Candidate({0: [1.0, 2.0]}, (4.0,)), Candidate({0: [1.1, 2.1]}, (2.0,))], ["a", "a"]).smallest == 0
