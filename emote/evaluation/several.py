"""Several rows against one: how far each differs, and which differences are shown although there are so many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emote.evaluation.images.jackknife import Estimate, mean_over, over_runs

Losses = Sequence[Sequence[float]]  # [seeds, images]


def difference(before: Losses, after: Losses, concepts: Sequence[str]) -> Estimate:
    """Return after − before, paired by seed and image, with an interval about other concepts and other seeds.

    For a single seed it is about other concepts alone.
    """
    changes_SN = np.subtract(np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64))
    return over_runs([mean_over(change_N, concepts) for change_N in changes_SN])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, each to be compared with 0.05.

    The step-down method of Holm (1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal
    of Statistics 6, 65-70): the chance that any row without an effect is called shown stays below 0.05, whatever the
    rows have in common.
    """
    corrected, highest = [1.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda n: p_values[n])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = highest
    return corrected
