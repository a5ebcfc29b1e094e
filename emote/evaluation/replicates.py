"""Runs that differ by their seed alone: one result, with an interval about other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from emote.evaluation.images.jackknife import Estimate, mean_over, over_runs, student
from emote.evaluation.paired import FEW_CONCEPTS, PairedResult, compare, paired_result

BySeed = Mapping[Any, Sequence[float]]  # of each seed: a figure for each image


def over_seeds(figures: BySeed) -> Estimate:
    """The mean of the seeds' means, with Student's interval about the mean of other seeds; none for a single seed."""
    means = [fmean(values) for values in figures.values()]
    if len(means) < 2:
        return Estimate(means[0], None, 1)
    return student(fmean(means), float(np.var(means, ddof=1)) / len(means), len(means) - 1, len(means))


def pairs(one: BySeed, other: BySeed) -> list[tuple[Sequence[float], Sequence[float]]]:
    """The figures of the seeds that both have; where they share none, in their order, which pairs images alone."""
    common = [seed for seed in one if seed in other]
    if common:
        return [(one[seed], other[seed]) for seed in common]
    return list(zip(one.values(), other.values(), strict=False))


def compare_replicates(base: BySeed, final: BySeed, concepts: Sequence[str]) -> PairedResult:
    """final − base, paired by seed and image, with an interval about other concepts and other seeds.

    For a single pair of seeds it is `compare`: about other concepts alone. base and final of the result are the means
    of the seeds that were paired.
    """
    matched = pairs(base, final)
    if len(matched) == 1:
        return compare(*matched[0], concepts)
    differences = [np.subtract(after, before) for before, after in matched]
    found = over_runs([mean_over(difference_N, concepts) for difference_N in differences])
    enough = found.concepts >= FEW_CONCEPTS
    before, after = (fmean(fmean(pair[side]) for pair in matched) for side in (0, 1))
    return paired_result(before, after, found.value, found.interval_95 if enough else None, concepts)
