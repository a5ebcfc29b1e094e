"""Is the adapter better than the base model, or was it luck? A paired bootstrap over held-out concepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

FEW_CONCEPTS = 5


@dataclass(frozen=True)
class PairedResult:
    """Mean losses, their difference (final − base) and its 95 % interval; `relative` is difference / base, infinite
    where only the base is 0, and 0 where there is no difference.

    The interval is None for fewer concepts than FEW_CONCEPTS: resampling so few shows nothing.
    """

    base: float
    final: float
    difference: float
    interval_95: tuple[float, float] | None
    relative: float
    items: int
    concepts: int

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "interval_95": list(self.interval_95) if self.interval_95 else None}


def compare(
    base: Sequence[float],
    final: Sequence[float],
    concepts: Sequence[str],
    draws: int = 10_000,
    seed: int = 0,
    fewest: int = FEW_CONCEPTS,
) -> PairedResult:
    """Percentile bootstrap of the mean difference, paired by item.

    Whole concepts are resampled, because the skin tones of one emoji are not independent images.
    """
    before, after = np.asarray(base, dtype=np.float64), np.asarray(final, dtype=np.float64)
    difference = after - before
    _, cluster = np.unique(np.asarray(concepts), return_inverse=True)
    count = int(cluster.max()) + 1
    sums, sizes = np.bincount(cluster, difference, count), np.bincount(cluster, minlength=count)
    chosen = np.random.default_rng(seed).integers(count, size=(draws, count))
    means = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return paired_result(
        float(before.mean()),
        float(after.mean()),
        float(difference.mean()),
        (float(low), float(high)) if count >= max(2, fewest) else None,
        concepts,
    )


def paired_result(
    base: float, final: float, difference: float, interval_95: tuple[float, float] | None, concepts: Sequence[str]
) -> PairedResult:
    """With what follows from these. concepts: of each image."""
    return PairedResult(
        base=base,
        final=final,
        difference=difference,
        interval_95=interval_95,
        relative=difference / base if base else math.copysign(math.inf, difference) if difference else 0.0,
        items=len(concepts),
        concepts=len(set(concepts)),
    )
