"""Held-out loss that can be compared: the same images, noise levels and noise at every step and in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from emote.data.prepared import Example, Prepared
from emote.diffusion import objective
from emote.lora.adapter import without_adapter
from emote.util.memoize import memoize

BATCH = 16


class Denoiser(Protocol):
    """What is scored: a module with an adapted `unet` whose error on noisy latents can be asked for."""

    unet: Any
    alphas_cumprod: torch.Tensor
    training: bool

    @property
    def device(self) -> torch.device: ...

    def train(self, mode: bool = True) -> Any: ...

    def denoising_error(
        self,
        latents_BCHW: torch.Tensor,
        noise_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        embedding_BTD: torch.Tensor,
    ) -> torch.Tensor: ...


class HeldOut:
    """The held-out examples, and their loss. Nothing here depends on the run's seed.

    scored: the losses at steps where this process has scored the adapter.
    """

    def __init__(self, prepared: Prepared, timesteps: int, max_items: int | None, base_key: str | None = None) -> None:
        """base_key: what the base model's losses depend on beside the examples and noise levels; None: never shared."""
        chosen = sorted(prepared.held_out, key=lambda example: (example.content, example.caption))
        self.examples: list[Example] = chosen[:max_items]
        self.prepared = prepared
        self.timesteps = timesteps
        self.scored: dict[int, list[float]] = {}
        self._base_key = base_key and repr((base_key, [(e.content, e.caption) for e in self.examples], timesteps))

    @torch.no_grad()
    def score(self, module: Denoiser, on_batch: Callable[[int], None] = lambda done: None) -> list[float]:
        """Mean squared error of each example over the noise levels, unweighted, with dropout off.

        The noise levels are the middles of equal parts of the schedule; the latents are the posterior's mean.
        """
        count = len(module.alphas_cumprod)
        levels = [int((i + 0.5) / self.timesteps * count) for i in range(self.timesteps)]
        pairs = [(example, level) for example in self.examples for level in levels]
        was_training = module.training
        module.train(False)
        errors: list[torch.Tensor] = []
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            mean_BCHW = torch.stack([self.prepared.latents.get(e.content, 0)[0] for e, _ in batch])
            embedding_BTD = torch.stack([self.prepared.text.get(e.caption) for e, _ in batch])
            noise_BCHW = torch.stack([_noise(example.content, level, mean_BCHW.shape[1:]) for example, level in batch])
            error_B = module.denoising_error(
                mean_BCHW.to(module.device),
                noise_BCHW.to(module.device),
                torch.tensor([level for _, level in batch], device=module.device),
                embedding_BTD.to(module.device),
            )
            errors.append(error_B.cpu())
            on_batch(min(start + BATCH, len(pairs)) // self.timesteps)
        module.train(was_training)
        return torch.cat(errors).view(-1, self.timesteps).mean(dim=1).double().tolist()

    def score_base(self, module: Denoiser) -> list[float]:
        with without_adapter(module.unet):
            return memoize(self._base_key, lambda: self.score(module)) if self._base_key else self.score(module)


def _noise(content: str, level: int, shape: torch.Size) -> torch.Tensor:
    seed = objective.key_seed("validation", content, level)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
