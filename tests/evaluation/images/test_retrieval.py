from __future__ import annotations

import numpy as np
import pytest

from emote.evaluation.images.retrieval import ranks, within

NAMES = np.eye(4)
CONCEPTS = ["cat", "dog", "cook", "cook"]  # the cook has two drawings, a man and a woman


def unit(*values: float) -> np.ndarray:
    row = np.array(values, dtype=float)
    return (row / np.linalg.norm(row))[None]


def test_a_rank_is_one_more_than_the_concepts_that_are_nearer() -> None:
    assert ranks(unit(3, 2, 1, 0), ["cat"], NAMES, CONCEPTS).tolist() == [1]
    assert ranks(unit(1, 2, 3, 0), ["cat"], NAMES, CONCEPTS).tolist() == [3]


def test_variants_of_a_concept_are_one_answer() -> None:
    image = unit(1, 0, 3, 2)
    assert ranks(image, ["cat"], NAMES, CONCEPTS).tolist() == [2]  # behind the cook, once
    assert ranks(image, ["cook"], NAMES, CONCEPTS).tolist() == [1]


def test_a_judge_who_sees_no_difference_gains_nothing() -> None:
    same = np.ones((1, 4)) / 2
    assert ranks(same, ["dog"], NAMES, CONCEPTS).tolist() == [2]  # the middle of three concepts


def test_within_counts_the_first_so_many() -> None:
    assert within(np.array([1, 2, 5, 6]), 5).tolist() == [1, 1, 1, 0]


def test_a_concept_without_a_name_is_told() -> None:
    with pytest.raises(ValueError, match="fish"):
        ranks(unit(1, 0, 0, 0), ["fish"], NAMES, CONCEPTS)
