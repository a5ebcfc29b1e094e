"""Batches of random numbers in the range of Stable Diffusion's, drawn before they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

KEPT = 4  # batches that take turns: equal ones could be served from a cache of the processor
LOGVAR = -8.0


@dataclass(frozen=True)
class Sizes:
    """latent: [C, h, w].  text: [T, D].  pixels: side of the picture.  words: of the vocabulary."""

    latent: tuple[int, int, int]
    text: tuple[int, int]
    pixels: int
    words: int

    @classmethod
    def of(cls, unet: Any, vae: Any, text: Any, pixels: int) -> Sizes:
        """By the configurations of a base model's parts, as mappings."""
        side = pixels // 2 ** (len(vae["block_out_channels"]) - 1)
        return cls(
            (unet["in_channels"], side, side), (text["max_position_embeddings"], unet["cross_attention_dim"]),
            pixels, text["vocab_size"],
        )  # fmt: skip


def cached_rows(sizes: Sizes, batch: int, count: int = KEPT) -> list[dict[str, torch.Tensor]]:
    """As the cache gives them, and with them the noise, posterior and timesteps of a step; float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=generator)

    return [
        {
            "mean": normal(*sizes.latent),
            "logvar": torch.full((batch, *sizes.latent), LOGVAR),
            "embedding": normal(*sizes.text),
            "posterior": normal(*sizes.latent),
            "noise": normal(*sizes.latent),
            "timesteps": torch.randint(0, 1000, (batch,), generator=generator),
            "position": torch.arange(index * batch, (index + 1) * batch),
        }
        for index in range(count)
    ]


def raw_rows(sizes: Sizes, batch: int, count: int = KEPT) -> list[dict[str, torch.Tensor]]:
    """Pixels in [-1, 1] and token numbers, as training without a cache reads them."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "pixels": torch.rand(batch, 3, sizes.pixels, sizes.pixels, generator=generator) * 2 - 1,
            "tokens": torch.randint(0, sizes.words, (batch, sizes.text[0]), generator=generator),
        }
        for _ in range(count)
    ]
