"""Which of several results is good enough? The smallest within one standard error of the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from emote.evaluation.images.jackknife import mean_over, over_runs
from emote.evaluation.replicates import BySeed, pairs


@dataclass(frozen=True)
class Candidate:
    """losses: of each held-out image, by seed.  size: what is wanted small; the first entry counts first."""

    losses: BySeed
    size: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """Positions among the candidates. within: all that are within one standard error of the best, itself included."""

    best: int
    smallest: int
    within: list[int]


def choose(candidates: Sequence[Candidate], concepts: Sequence[str]) -> Choice:
    """The lowest mean loss, and the smallest candidate that is not shown to be worse by more than a standard error.

    The one-standard-error rule (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3), with the standard error of
    the paired difference to the best: all candidates are scored at the same images and noise, so what is hard for one
    is hard for all, and that takes no part in what they differ by. Of several seeds it is that of their mean, and what
    the seeds differ by is added.
    """
    means = [fmean(map(fmean, candidate.losses.values())) for candidate in candidates]
    best = min(range(len(means)), key=means.__getitem__)
    within = [best]
    for number, candidate in enumerate(candidates):
        worse_SN = [np.subtract(own, lowest) for lowest, own in pairs(candidates[best].losses, candidate.losses)]
        if number != best and np.mean(worse_SN) <= _error_over_seeds(worse_SN, concepts):
            within.append(number)
    smallest = min(within, key=lambda number: (candidates[number].size, means[number]))
    return Choice(best, smallest, sorted(within))


def _error_over_seeds(values_SN: Sequence[np.ndarray], concepts: Sequence[str]) -> float:
    if len(values_SN) == 1:
        return standard_error(values_SN[0], concepts)
    return over_runs([mean_over(values_N, concepts) for values_N in values_SN]).standard_error


def standard_error(values_N: np.ndarray, concepts: Sequence[str]) -> float:
    """Of the mean, where whole concepts are drawn and not single images; 0 for a single concept.

    Linearised for the ratio of two sums over concepts (Cochran 1977, Sampling Techniques, section 9A.1).
    """
    _, cluster_N = np.unique(np.asarray(concepts), return_inverse=True)
    count = int(cluster_N.max()) + 1
    if count < 2:
        return 0.0
    residual_C = np.bincount(cluster_N, values_N - values_N.mean(), count)
    return float(np.sqrt(count / (count - 1) * (residual_C**2).sum()) / len(values_N))
