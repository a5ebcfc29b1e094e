from __future__ import annotations

import numpy as np

from emote.evaluation.plateau import is_plateau

CONCEPTS = [str(number) for number in range(60)]


def losses(mean: float, seed: int = 0) -> list[float]:
    """The same images each time, with a little noise of each validation."""
    images = np.random.default_rng(99).uniform(0.5, 1.5, 60)
    return (images * mean + np.random.default_rng(seed).normal(0, 0.01, 60)).tolist()


def test_what_falls_is_no_plateau() -> None:
    assert not is_plateau([losses(1.0), losses(0.9, 1), losses(0.8, 2), losses(0.7, 3)], CONCEPTS, 3)


def test_what_stays_is_one() -> None:
    history = [losses(1.0), losses(0.8, 1), losses(0.8, 2), losses(0.8, 3), losses(0.8, 4)]
    assert is_plateau(history, CONCEPTS, 3)


def test_what_rises_is_one() -> None:
    assert is_plateau([losses(0.8), losses(0.82, 1), losses(0.85, 2), losses(0.9, 3)], CONCEPTS, 3)


def test_one_late_gain_is_enough_to_go_on() -> None:
    assert not is_plateau([losses(0.8), losses(0.8, 1), losses(0.8, 2), losses(0.7, 3)], CONCEPTS, 3)


def test_too_few_validations_say_nothing() -> None:
    assert not is_plateau([losses(0.8), losses(0.8, 1), losses(0.8, 2)], CONCEPTS, 3)


def test_a_single_concept_never_stops_a_run() -> None:
    assert not is_plateau([[1.0, 1.0]] * 9, ["cat", "cat"], 3)
