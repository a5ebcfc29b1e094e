"""Did it learn, or remember? Distances to the training images, whatever their position by a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE_PX = 64
SHIFT_PX = 2  # of SIDE_PX, in each direction: 4 of 128
PAPER = 255.0
BATCH = 32  # images at a time, each in all its shifts


def as_pixels(images: Sequence[Image.Image]) -> np.ndarray:
    """[N, 3, SIDE_PX, SIDE_PX], float32, 0 to 1."""
    small = [image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image, dtype=np.float32).transpose(2, 0, 1) for image in small]) / PAPER


def distances(images_N3HW: np.ndarray, training_M3HW: np.ndarray) -> np.ndarray:
    """[N, M]: root mean squared difference of pixels at the shift, of all within SHIFT_PX, where it is the least.

    What a shift uncovers is the colour of the image's own border pixels.
    """
    pixels = images_N3HW[0].size if len(images_N3HW) else 1
    flat_MD = training_M3HW.reshape(len(training_M3HW), -1)
    norms_M = (flat_MD**2).sum(1)
    found = np.full((len(images_N3HW), len(training_M3HW)), np.inf, dtype=np.float32)
    reach = range(-SHIFT_PX, SHIFT_PX + 1)
    for start in range(0, len(images_N3HW), BATCH):
        part = images_N3HW[start : start + BATCH]
        for down in reach:
            for right in reach:
                moved_BD = _shift(part, down, right).reshape(len(part), -1)
                squared = (moved_BD**2).sum(1)[:, None] + norms_M[None] - 2 * moved_BD @ flat_MD.T
                rows = found[start : start + BATCH]
                np.minimum(rows, squared, out=rows)
    return np.sqrt(np.maximum(found, 0.0) / pixels)


def _shift(images_B3HW: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = images_B3HW.shape[2:]
    padded = np.pad(images_B3HW, ((0, 0), (0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX)), mode="edge")
    top, left = SHIFT_PX - down, SHIFT_PX - right
    return padded[:, :, top : top + height, left : left + width]


def beyond_null(nearest_N: np.ndarray, null_N: np.ndarray, percent: float = 1.0) -> np.ndarray:
    """[N]: 1 where an image is nearer to a training image than 99 % of real held-out images are, else 0.

    null_N: the nearest distances of real images that are in no training set; 1 % of them are beyond, by definition.
    """
    return (nearest_N < np.percentile(null_N, percent)).astype(np.float64)


def nearest_ratio(distances_NM: np.ndarray, training_concepts: Sequence[str]) -> np.ndarray:
    """[N]: the distance to the nearest training image ÷ that to the nearest one of another concept than its.

    Near 0 for a copy; near 1 where it is as far from the next concept, as an image is that was not copied.
    """
    concepts_M = np.asarray(training_concepts, dtype=object).astype(str)
    ratios = np.empty(len(distances_NM))
    for row, line_M in enumerate(distances_NM):
        first = int(line_M.argmin())
        others_M = line_M[concepts_M != concepts_M[first]]
        second = float(others_M.min()) if len(others_M) else float("inf")
        ratios[row] = float(line_M[first]) / second if second else 1.0
    return ratios


@dataclass(frozen=True)
class Pair:
    """A drawn image (its number) and the training image (its number) that it is nearest to."""

    image: int
    training: int
    distance: float


def closest_pairs(distances_NM: np.ndarray, count: int = 10) -> list[Pair]:
    """Of each image its nearest training image; the closest first."""
    nearest_N = distances_NM.argmin(1)
    pairs = [Pair(i, int(j), float(distances_NM[i, j])) for i, j in enumerate(nearest_N)]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.image))[:count]
