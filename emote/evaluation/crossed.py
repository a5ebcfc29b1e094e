"""Did a change help, over several seeds? A paired bootstrap over held-out concepts and seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class CrossedResult:
    """Difference of the mean losses (after − before) over all seeds and images, and how sure it is.

    by_seed: the difference of each seed. interval_95: concepts and seeds resampled; it speaks about other images and
    other seeds. interval_95_these_seeds: concepts alone, so about other images with these very runs. Intervals are
    None for a single concept.
    """

    before: float
    after: float
    difference: float
    by_seed: list[float]
    interval_95: tuple[float, float] | None
    interval_95_these_seeds: tuple[float, float] | None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def compare_over_seeds(
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    concepts: Sequence[str],
    draws: int = 10_000,
    seed: int = 0,
) -> CrossedResult:
    """Percentile bootstrap of the mean difference, paired by seed and image.

    before, after: [seeds, images] losses. Each draw takes as many concepts as there are, whole and with replacement,
    because the skin tones of one emoji are not independent images; and independently of them as many seeds, because
    all images of a run share its noise and order (crossed resampling: Owen 2007, doi 10.1214/07-AOAS122). With S
    seeds, resampling shows (S − 1) / S of their variance on average: with three the interval is somewhat too narrow,
    with one it says nothing about other seeds.
    """
    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    difference_SN = other - one
    _, cluster_N = np.unique(np.asarray(concepts), return_inverse=True)
    count, seeds = int(cluster_N.max()) + 1, len(difference_SN)
    sums_SC = np.stack([np.bincount(cluster_N, row, count) for row in difference_SN])
    sizes_C = np.bincount(cluster_N, minlength=count)
    random = np.random.default_rng(seed)
    concepts_DC = random.integers(count, size=(draws, count))
    seeds_DS = random.integers(seeds, size=(draws, seeds))
    images_D = sizes_C[concepts_DC].sum(axis=1)
    means_DS = np.stack([row[concepts_DC].sum(axis=1) for row in sums_SC], axis=1) / images_D[:, None]
    return CrossedResult(
        before=float(one.mean()),
        after=float(other.mean()),
        difference=float(difference_SN.mean()),
        by_seed=difference_SN.mean(axis=1).tolist(),
        interval_95=_interval(np.take_along_axis(means_DS, seeds_DS, axis=1).mean(axis=1), count),
        interval_95_these_seeds=_interval(means_DS.mean(axis=1), count),
    )


def _interval(means_D: np.ndarray, concepts: int) -> tuple[float, float] | None:
    if concepts < 2:
        return None
    low, high = np.percentile(means_D, [2.5, 97.5])
    return float(low), float(high)
