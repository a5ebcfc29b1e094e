"""How far apart are two sets of images? Unbiased MMD², with pairs of one concept left out of all three sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from emote.evaluation.images.jackknife import LeaveOneOut

Kernel: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [N, D] and [M, D] to [N, M]


def polynomial_kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """(x · y / D + 1)³, that of KID (Bińkowski et al., Demystifying MMD GANs, arXiv 1801.01401)."""
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1.0) ** 3


@dataclass(frozen=True)
class RbfKernel:
    """exp(−‖x − y‖² / (2 σ²)). bandwidth: σ."""

    bandwidth: float

    def __call__(self, x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
        return np.exp(-squared_distances(x_ND, y_MD) / (2 * self.bandwidth**2))


def median_bandwidth(x_ND: np.ndarray) -> float:
    """The median distance of two different rows (Gretton et al. 2012, section 8), 1 where all are the same."""
    above = squared_distances(x_ND, x_ND)[np.triu_indices(len(x_ND), 1)]
    return float(np.sqrt(np.median(above))) or 1.0 if len(above) else 1.0


def squared_distances(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """[N, M], never below 0."""
    squared = (x_ND**2).sum(1)[:, None] + (y_MD**2).sum(1)[None] - 2 * x_ND @ y_MD.T
    return np.maximum(squared, 0.0)


def mmd2(
    x_ND: np.ndarray, x_concepts: Sequence[str], y_MD: np.ndarray, y_concepts: Sequence[str], kernel: Kernel
) -> LeaveOneOut:
    """Squared maximum mean discrepancy of two sets of features, and without each concept of either.

    The U-statistic of Gretton et al. 2012 (A kernel two-sample test, JMLR 13, lemma 6), in which a pair counts where
    its two images have different concepts: two drawings of one concept are alike because of it, whatever their style.
    It is 0 on average for two sets of one distribution, so it may be below 0.
    Raises ValueError where a set has fewer than two concepts.
    """
    if len(set(x_concepts)) < 2 or len(set(y_concepts)) < 2:
        raise ValueError("each set needs images of two concepts or more")
    names, cluster = np.unique(np.array([*x_concepts, *y_concepts], dtype=object).astype(str), return_inverse=True)
    x_C, y_C = cluster[: len(x_concepts)], cluster[len(x_concepts) :]
    x, y = np.asarray(x_ND, dtype=np.float64), np.asarray(y_MD, dtype=np.float64)
    sums = [
        _Blocks.of(kernel(x, x), x_C, x_C, len(names)),
        _Blocks.of(kernel(y, y), y_C, y_C, len(names)),
        _Blocks.of(kernel(x, y), x_C, y_C, len(names)),
    ]

    def value(means: Sequence[np.ndarray | float]) -> np.ndarray | float:
        return means[0] + means[1] - 2 * means[2]

    whole = float(value([blocks.mean() for blocks in sums]))
    without_C = np.asarray(value([blocks.means_without() for blocks in sums]))
    return LeaveOneOut(whole, {str(n): float(v) for n, v in zip(names, without_C, strict=True) if np.isfinite(v)})


@dataclass(frozen=True)
class _Blocks:
    """Sums of a kernel over pairs of concepts [C, C], and how many pairs; those of one concept are 0."""

    sums_CC: np.ndarray
    pairs_CC: np.ndarray

    @classmethod
    def of(cls, kernel_NM: np.ndarray, rows_N: np.ndarray, columns_M: np.ndarray, concepts: int) -> _Blocks:
        by_rows_CM = np.zeros((concepts, kernel_NM.shape[1]))
        np.add.at(by_rows_CM, rows_N, kernel_NM)
        sums_CC = np.zeros((concepts, concepts))
        np.add.at(sums_CC.T, columns_M, by_rows_CM.T)
        row_sizes, column_sizes = np.bincount(rows_N, minlength=concepts), np.bincount(columns_M, minlength=concepts)
        pairs_CC = np.outer(row_sizes, column_sizes).astype(np.float64)
        np.fill_diagonal(sums_CC, 0.0)
        np.fill_diagonal(pairs_CC, 0.0)
        return cls(sums_CC, pairs_CC)

    def mean(self) -> float:
        return float(self.sums_CC.sum() / self.pairs_CC.sum())

    def means_without(self) -> np.ndarray:
        """[C]: the mean without the pairs that hold a concept."""
        sums_C = self.sums_CC.sum() - self.sums_CC.sum(0) - self.sums_CC.sum(1)
        pairs_C = self.pairs_CC.sum() - self.pairs_CC.sum(0) - self.pairs_CC.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums_C / pairs_C


def share_of_way(adapter: float, base: float) -> float:
    """1 − MMD²(adapter) / MMD²(base): 0 where nothing changed, 1 where the adapter's images are as the real ones."""
    return 1.0 - adapter / base if base > 0 else float("nan")
