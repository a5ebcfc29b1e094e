"""In which style is it drawn? Features that see strokes, edges and colours, and not what an image shows.

A tower that was trained to name things in any style is blind to style. These are statistics of fixed filters, with
nothing learned: the same for every base model, and nobody's teacher. First the palette (how much of the image has which
colour), then, at three sizes, how strongly the image has edges, lines and spots in each colour channel, and which of
them stand at the same place: a Gram matrix (Gatys et al., arXiv 1508.06576, on fixed filters as the random ones of
Ustyuzhaninov et al., arXiv 1606.00021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

SIDE_PX = 64  # what is seen, whatever an image's size
SCALES = 3  # each half of the one before
LEVELS = 4  # of each channel of the palette
BATCH = 256
FLOOR = 0.1  # of the mean standard deviation, so that what is always the same in the real images does not explode
SHRINKAGE = 0.5  # of the mean variance: from 0.3 to 3 it made little difference


def style_features(images: Sequence[Image.Image]) -> np.ndarray:
    """[N, D], float32: the same order of images. See `StyleSpace` for how they are compared."""
    parts = [_features(_as_tensor(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, 1), dtype=np.float32)


@dataclass(frozen=True)
class StyleSpace:
    """Where style is measured: what differs between the drawings of one style is made small, and lengths are equal.

    What varies among the real images is what they show; whitening by their covariance (shrunk towards the identity,
    since there are more features than images) leaves what sets one style apart from another. Unit lengths keep a single
    odd image from deciding the polynomial kernel.
    """

    mean_D: np.ndarray
    deviation_D: np.ndarray
    axes_KD: np.ndarray
    gains_K: np.ndarray  # beyond that of the directions in which the real images do not vary

    @classmethod
    def of(cls, features_ND: np.ndarray) -> StyleSpace:
        """From the features of real training images, which take no part in what is compared afterwards."""
        features_ND = features_ND.astype(np.float64)
        deviation_D = features_ND.std(0)
        deviation_D += FLOOR * float(deviation_D.mean()) + 1e-8
        scaled_ND = (features_ND - features_ND.mean(0)) / deviation_D
        _, lengths_K, axes_KD = np.linalg.svd(scaled_ND, full_matrices=False)
        shrink = SHRINKAGE * float((scaled_ND**2).mean()) + 1e-8
        gains_K = (1 + lengths_K**2 / len(scaled_ND) / shrink) ** -0.5 - 1
        return cls(features_ND.mean(0), deviation_D, axes_KD, gains_K)

    def __call__(self, features_ND: np.ndarray) -> np.ndarray:
        """[N, D], float64; each row has the length √D."""
        scaled_ND = (features_ND - self.mean_D) / self.deviation_D
        whitened_ND = scaled_ND + (scaled_ND @ self.axes_KD.T * self.gains_K) @ self.axes_KD
        lengths_N1 = np.linalg.norm(whitened_ND, axis=1, keepdims=True)
        return whitened_ND / np.maximum(lengths_N1, 1e-12) * whitened_ND.shape[1] ** 0.5


def _as_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """[N, 3, SIDE_PX, SIDE_PX], 0 to 1."""
    small = [image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS) for image in images]
    return torch.from_numpy(np.stack([np.asarray(image) for image in small])).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def _features(rgb_B3HW: torch.Tensor) -> torch.Tensor:
    found = [_palette(rgb_B3HW)]
    channels_B3HW = _opponent(rgb_B3HW)
    for _ in range(SCALES):
        found.append(_gram(channels_B3HW))
        channels_B3HW = F.avg_pool2d(channels_B3HW, 2)
    return torch.cat(found, dim=1)


def _opponent(rgb_B3HW: torch.Tensor) -> torch.Tensor:
    """Lightness, red against green, blue against yellow."""
    red, green, blue = rgb_B3HW.unbind(1)
    return torch.stack([(red + green + blue) / 3, red - green, blue - (red + green) / 2], dim=1)


def _palette(rgb_B3HW: torch.Tensor) -> torch.Tensor:
    """[B, LEVELS³]: the share of the pixels of each colour, shared between neighbouring levels; square roots, so that
    a rare colour counts as well."""
    place = rgb_B3HW.flatten(2) * (LEVELS - 1)  # [B, 3, P]
    levels = torch.arange(LEVELS, dtype=place.dtype)
    weights = (1 - (place.unsqueeze(-1) - levels).abs()).clamp(min=0)  # [B, 3, P, LEVELS]
    shares = torch.einsum("bpi,bpj,bpk->bijk", *weights.unbind(1)) / place.shape[-1]
    return shares.flatten(1).sqrt()


def _gram(channels_B3HW: torch.Tensor) -> torch.Tensor:
    """Means of the rectified answers of each filter in each channel, and of their products."""
    filters_F1KK = _filters()
    batch, _, height, width = channels_B3HW.shape
    margin = filters_F1KK.shape[-1] // 2
    planes = F.pad(channels_B3HW.flatten(0, 1).unsqueeze(1), (margin,) * 4, mode="replicate")
    answers = F.conv2d(planes, filters_F1KK)
    answers = torch.cat([answers.relu(), (-answers).relu()], dim=1)  # dark lines are not light lines
    answers = answers.view(batch, -1, height * width)
    gram = answers @ answers.transpose(1, 2) / (height * width)
    row, column = torch.triu_indices(gram.shape[1], gram.shape[1])
    return torch.cat([answers.mean(-1), gram[:, row, column].clamp(min=0).sqrt()], dim=1)


def _filters() -> torch.Tensor:
    """[F, 1, 5, 5]: first and second derivatives of a Gaussian in two directions, and a spot."""
    at = torch.arange(-2, 3, dtype=torch.float32)
    y, x = torch.meshgrid(at, at, indexing="ij")
    bell = torch.exp(-(x**2 + y**2) / 2)
    kernels = [x * bell, y * bell, (x**2 - 1) * bell, (y**2 - 1) * bell, (x**2 + y**2 - 2) * bell]
    kernels = [kernel - kernel.mean() for kernel in kernels]
    return torch.stack([kernel / kernel.abs().sum() * 2 for kernel in kernels]).unsqueeze(1)
