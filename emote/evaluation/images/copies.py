"""Did it learn, or remember? Distances to the training images, whatever their position by a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE_PX = 64
SHIFT_PX = 2  # of SIDE_PX, in each direction: 4 of 128
PAPER = 255.0
COARSE_PX, COARSE_SHIFT_PX = 16, 1
CONCEPTS, OF_EACH = 16, 2  # that are looked at closely
COPIED_BELOW = 0.5
BATCH = 32  # images at a time, each in all its shifts


def as_pixels(images: Sequence[Image.Image]) -> np.ndarray:
    """[N, 3, SIDE_PX, SIDE_PX], float32, 0 to 1."""
    small = [image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image, dtype=np.float32).transpose(2, 0, 1) for image in small]) / PAPER


@dataclass(frozen=True)
class Nearest:
    """Of each of N images: its nearest training image (its number and distance), and the distance to the nearest one
    of another concept than that one's; infinite where there is none."""

    training_N: np.ndarray
    distance_N: np.ndarray
    next_N: np.ndarray


def find_nearest(
    images_N3HW: np.ndarray,
    training_M3HW: np.ndarray,
    training_concepts: Sequence[str],
    not_of: Sequence[str] | None = None,
) -> Nearest:
    """The nearest training images by root mean squared difference of pixels, at the shift where it is the least.

    Looks closely at those that are near at a coarse size: the nearest two of each of the CONCEPTS nearest concepts.
    not_of: for each image a concept whose training images do not count.
    """
    known, concept_M = np.unique(np.asarray(training_concepts, dtype=object).astype(str), return_inverse=True)
    coarse_NM = _distances(_coarse(images_N3HW), _coarse(training_M3HW), COARSE_SHIFT_PX)
    if not_of is not None:
        coarse_NM[np.asarray(not_of, dtype=object).astype(str)[:, None] == known[concept_M][None]] = np.inf
    numbers, distances, nexts = [], [], []
    for image_3HW, coarse_M in zip(images_N3HW, coarse_NM, strict=True):
        candidates_K = _candidates(coarse_M, concept_M)
        if not len(candidates_K):
            numbers.append(-1)
            distances.append(np.inf)
            nexts.append(np.inf)
            continue
        line_K = _distances(image_3HW[None], training_M3HW[candidates_K], SHIFT_PX)[0]
        first = int(line_K.argmin())
        other_K = concept_M[candidates_K] != concept_M[candidates_K[first]]
        numbers.append(int(candidates_K[first]))
        distances.append(float(line_K[first]))
        nexts.append(float(line_K[other_K].min()) if other_K.any() else np.inf)
    return Nearest(np.array(numbers), np.array(distances), np.array(nexts))


def _candidates(coarse_M: np.ndarray, concept_M: np.ndarray) -> np.ndarray:
    taken: dict[int, list[int]] = {}
    for number in np.argsort(coarse_M, kind="stable"):
        if not np.isfinite(coarse_M[number]):
            break
        own = taken.setdefault(int(concept_M[number]), [])
        if len(own) < OF_EACH:
            own.append(int(number))
        if len(taken) > CONCEPTS:
            break
    return np.array([number for own in taken.values() for number in own], dtype=int)


def _coarse(images_N3HW: np.ndarray) -> np.ndarray:
    count, channels, height, width = images_N3HW.shape
    tiles = images_N3HW.reshape(count, channels, COARSE_PX, height // COARSE_PX, COARSE_PX, width // COARSE_PX)
    return tiles.mean(axis=(3, 5))


def _distances(images_N3HW: np.ndarray, training_M3HW: np.ndarray, reach_px: int) -> np.ndarray:
    """[N, M]: of the shifts within reach_px the least. What a shift uncovers is the colour of the border beside it."""
    pixels = images_N3HW[0].size if len(images_N3HW) else 1
    flat_MD = training_M3HW.reshape(len(training_M3HW), -1)
    norms_M = (flat_MD**2).sum(1)
    found = np.full((len(images_N3HW), len(training_M3HW)), np.inf, dtype=np.float32)
    reach = range(-reach_px, reach_px + 1)
    for start in range(0, len(images_N3HW), BATCH):
        part = images_N3HW[start : start + BATCH]
        for down in reach:
            for right in reach:
                moved_BD = _shift(part, down, right, reach_px).reshape(len(part), -1)
                squared = (moved_BD**2).sum(1)[:, None] + norms_M[None] - 2 * moved_BD @ flat_MD.T
                rows = found[start : start + BATCH]
                np.minimum(rows, squared, out=rows)
    return np.sqrt(np.maximum(found, 0.0) / pixels)


def _shift(images_B3HW: np.ndarray, down: int, right: int, reach_px: int) -> np.ndarray:
    height, width = images_B3HW.shape[2:]
    padded = np.pad(images_B3HW, ((0, 0), (0, 0), (reach_px, reach_px), (reach_px, reach_px)), mode="edge")
    top, left = reach_px - down, reach_px - right
    return padded[:, :, top : top + height, left : left + width]


def beyond_null(nearest_N: np.ndarray, null_N: np.ndarray, percent: float = 1.0) -> np.ndarray:
    """[N]: 1 where an image is nearer to a training image than 99 % of real held-out images are, else 0.

    null_N: the nearest distances of real images that are in no training set; 1 % of them are beyond, by definition.
    """
    return (nearest_N < np.percentile(null_N, percent)).astype(np.float64)


def much_nearer(nearest: Nearest) -> np.ndarray:
    """[N]: 1 where the nearest training image is at less than half the distance of the next concept's, else 0.

    For an image of a concept that was trained on, which may well be nearest to its own training image: one that was
    not copied is about as far from the next concept. 0 where there is no other concept.
    """
    apart = np.isfinite(nearest.next_N) & (nearest.next_N > 0)
    return (apart & (nearest.distance_N < COPIED_BELOW * nearest.next_N)).astype(np.float64)


def chance(copied: int, images: int, share: float = 0.01) -> float:
    """The probability of so many copies or more among images of which each is one with probability `share`."""
    from scipy.stats import binom  # late: it takes a second

    return float(binom.sf(copied - 1, images, share)) if images else 1.0


@dataclass(frozen=True)
class Pair:
    """A drawn image (its number) and the training image (its number) that it is nearest to."""

    image: int
    training: int
    distance: float


def closest_pairs(nearest: Nearest, count: int = 10) -> list[Pair]:
    """Of each image its nearest training image; the closest first."""
    found = zip(nearest.training_N, nearest.distance_N, strict=True)
    pairs = [Pair(image, int(training), float(distance)) for image, (training, distance) in enumerate(found)]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.image))[:count]
