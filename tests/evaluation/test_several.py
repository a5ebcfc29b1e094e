"""Several rows against one: the paired difference, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest

from emote.evaluation.several import difference, holm


def test_holm_is_as_in_his_paper_and_keeps_the_order() -> None:
    # by hand: sorted 0.01, 0.02, 0.03, 0.04 → ×4, ×3, ×2, ×1, never falling
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_rows_without_an_effect_are_rarely_shown_however_many() -> None:
    random = np.random.default_rng(0)
    concepts = [str(number) for number in range(40)]
    wrong = 0
    for _ in range(60):
        base = random.normal(size=(3, 40))
        rows = [random.normal(size=(3, 40)) for _ in range(8)]
        p_values = [difference(base, row, concepts).p_value for row in rows]
        wrong += min(holm(p_values)) < 0.05
    assert wrong <= 6


def test_a_difference_is_paired_by_seed_and_image() -> None:
    random = np.random.default_rng(1)
    before = random.normal(size=(3, 40)) + np.array([[0.0], [5.0], [-5.0]])
    after = before - 0.1 + 0.01 * random.normal(size=(3, 40))
    found = difference(before, after, [str(number) for number in range(40)])
    assert found.value == pytest.approx(-0.1, abs=0.01) and found.differs_from_zero and found.p_value < 1e-3
    assert difference(before, before, [str(n) for n in range(40)]).p_value == 1
