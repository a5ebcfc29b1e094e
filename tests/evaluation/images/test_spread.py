from __future__ import annotations

import numpy as np
import pytest

from emote.evaluation.images.spread import diversity, drift

X, Y = [1.0, 0.0], [0.0, 1.0]


def test_diversity_is_the_mean_distance_of_a_prompts_seeds() -> None:
    values, prompts = diversity(np.array([X, Y, X, X]), ["cat", "cat", "dog", "dog"])
    assert prompts == ["cat", "dog"] and values == pytest.approx([1.0, 0.0])


def test_a_prompt_with_one_image_has_no_diversity() -> None:
    assert diversity(np.array([X]), ["cat"])[1] == []


def test_drift_is_the_distance_to_the_base_image_of_the_same_noise() -> None:
    assert drift(np.array([X, X]), np.array([X, Y])).tolist() == [0.0, 1.0]
