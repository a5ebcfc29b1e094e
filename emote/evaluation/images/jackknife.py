"""How sure is a figure about images? A jackknife that leaves out one concept at a time.

A bootstrap draws concepts with replacement, and the copies of one concept then stand beside each other as if they were
independent: in a sum over pairs, such as MMD², that is a bias. Leaving one out adds nothing that was not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval; None where there are fewer than two concepts.

    p_value: how often chance alone gives one that is as far from zero, by the same t; 1 where that is not known.
    """

    value: float
    interval_95: tuple[float, float] | None
    concepts: int
    standard_error: float = 0.0
    p_value: float = 1.0

    @property
    def half_width(self) -> float:
        """Of the interval; infinite where there is none."""
        return (self.interval_95[1] - self.interval_95[0]) / 2 if self.interval_95 else float("inf")

    @property
    def differs_from_zero(self) -> bool:
        """Whether 0 lies outside the interval; never where an end of it is no number."""
        return self.interval_95 is not None and (self.interval_95[0] > 0 or self.interval_95[1] < 0)

    def as_dict(self) -> dict[str, Any]:
        ends = [float(end) for end in self.interval_95] if self.interval_95 else None
        return {"value": float(self.value), "interval_95": ends, "concepts": self.concepts}


@dataclass(frozen=True)
class LeaveOneOut:
    """A statistic, and its value without each concept: what an interval is computed from.

    without: by concept. Figures of the same concepts can be combined, so that a difference is paired.
    """

    value: float
    without: dict[str, float]

    def estimate(self) -> Estimate:
        """The value ± t · SE, with SE² = (C − 1) / C · Σ (θ₋c − mean)² over C concepts.

        Efron and Stein 1981, The jackknife estimate of variance, doi 10.1214/aos/1176345462; Student's t with C − 1
        degrees of freedom. The statistic itself is not corrected for bias.
        """
        variance, count = self._variance(), len(self.without)
        if count < 2:
            return Estimate(self.value, None, count)
        return student(self.value, variance, count - 1, count)

    def _variance(self) -> float:
        values_C = np.array(list(self.without.values()), dtype=np.float64)
        count = len(values_C)
        if count < 2:
            return 0.0
        return float((count - 1) / count * ((values_C - values_C.mean()) ** 2).sum())


def combine(function: Callable[..., float], *figures: LeaveOneOut) -> LeaveOneOut:
    """A function of several figures, concept by concept: the difference of two, or a ratio.

    A concept that a figure does not know changes nothing in it.
    """
    names = dict.fromkeys(name for figure in figures for name in figure.without)
    return LeaveOneOut(
        function(*(figure.value for figure in figures)),
        {name: function(*(figure.without.get(name, figure.value) for figure in figures)) for name in names},
    )


def ratio(above: float, below: float) -> float:
    """above / below; not a number where there is nothing to divide by."""
    return above / below if below else float("nan")


def mean_over(values: Sequence[float] | np.ndarray, concepts: Sequence[str]) -> LeaveOneOut:
    """The mean of one value an image, each image with its concept."""
    values_N = np.asarray(values, dtype=np.float64)
    names, cluster_N = np.unique(np.asarray(concepts, dtype=object).astype(str), return_inverse=True)
    if not len(values_N):
        return LeaveOneOut(float("nan"), {})
    sums_C, sizes_C = np.bincount(cluster_N, values_N, len(names)), np.bincount(cluster_N, minlength=len(names))
    left_C = len(values_N) - sizes_C
    with np.errstate(invalid="ignore", divide="ignore"):
        without_C = (values_N.sum() - sums_C) / left_C
    whole = float(values_N.mean())
    return LeaveOneOut(
        whole, {str(n): float(v) if left else whole for n, v, left in zip(names, without_C, left_C, strict=True)}
    )


def over_runs(figures: Sequence[LeaveOneOut]) -> Estimate:
    """The mean of several runs that differ by their seed alone, with an interval about other concepts and other seeds.

    Adds the variance of the concepts to that of the seeds' mean (which holds some of the former too, so it is rather
    too wide), with Satterthwaite's degrees of freedom (1946, doi 10.2307/3002019).
    """
    if not figures:
        raise ValueError("no runs")
    mean = combine(lambda *values: float(np.mean(values)), *figures)
    if len(figures) == 1 or len(mean.without) < 2:
        return mean.estimate()
    by_concepts, concepts = mean._variance(), len(mean.without)
    seeds = len(figures)
    by_seeds = float(np.var([figure.value for figure in figures], ddof=1)) / seeds
    total = by_concepts + by_seeds
    below = by_concepts**2 / (concepts - 1) + by_seeds**2 / (seeds - 1)
    freedom = total**2 / below if below else concepts - 1
    return student(mean.value, total, freedom, concepts)


def student(value: float, variance: float, freedom: float, concepts: int) -> Estimate:
    """A mean of this variance with Student's interval. concepts: how many units it is about."""
    from scipy.stats import t  # late: it takes a second

    error = variance**0.5
    half = float(t.ppf(0.975, freedom)) * error
    p_value = float(2 * t.sf(abs(value) / error, freedom)) if error else float(value == 0)
    return Estimate(value, (value - half, value + half), concepts, error, p_value)
