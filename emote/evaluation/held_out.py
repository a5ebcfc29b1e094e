"""Held-out loss that can be compared: the same images, noise levels and noise at every step and in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

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


def held_out_error(module: Denoiser, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Squared error of each row [B] of a batch of `HeldOut.rows`, unweighted."""
    moved = {name: tensor.to(module.device) for name, tensor in batch.items()}
    return module.denoising_error(moved["latents"], moved["noise"], moved["timestep"], moved["embedding"])


class HeldOut(Dataset):
    """The held-out examples at their noise levels as a set of rows, and their loss; nothing depends on the run's seed.

    A row is an example's latents (the posterior's mean), noise, timestep and embedding. The noise levels are the
    middles of equal parts of the schedule; all levels of an example follow each other.
    scored: the losses at steps where this process has scored the adapter.
    """

    def __init__(
        self,
        prepared: Prepared,
        timesteps: int,
        max_items: int | None,
        schedule_length: int,
        base_key: str | None = None,
    ) -> None:
        """base_key: what the base model's losses depend on beside the examples and noise levels; None: never shared."""
        chosen = sorted(prepared.held_out, key=lambda example: (example.content, example.caption))
        self.examples: list[Example] = chosen[:max_items]
        self.prepared = prepared
        self._text = prepared.text
        self.timesteps = timesteps
        self.levels = [int((i + 0.5) / timesteps * schedule_length) for i in range(timesteps)]
        self.scored: dict[int, list[float]] = {}
        self._base_key = base_key and repr((base_key, [(e.content, e.caption) for e in self.examples], timesteps))

    def __len__(self) -> int:
        return len(self.examples) * self.timesteps

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        example, level = self.examples[index // self.timesteps], self.levels[index % self.timesteps]
        latents_CHW = self.prepared.latents.get(example.content, 0)[0]
        return {
            "latents": latents_CHW,
            "noise": _noise(example.content, level, latents_CHW.shape),
            "timestep": torch.tensor(level),
            "embedding": self._text.get(example.caption),
        }

    def batches(self) -> DataLoader:
        return DataLoader(self, batch_size=BATCH)

    def by_level(self, errors: list[torch.Tensor]) -> torch.Tensor:
        """The errors of all batches as [examples, noise levels]."""
        return torch.cat(errors).view(-1, self.timesteps)

    def means(self, errors: list[torch.Tensor]) -> list[float]:
        """The loss of each example over the noise levels, from the errors of all batches."""
        return self.by_level(errors).mean(dim=1).double().tolist()

    @torch.no_grad()
    def score(self, module: Denoiser, on_batch: Callable[[int], None] = lambda done: None) -> list[float]:
        """The loss of each example, with dropout off."""
        was_training = module.training
        module.train(False)
        errors: list[torch.Tensor] = []
        for number, batch in enumerate(self.batches(), 1):
            errors.append(held_out_error(module, batch).cpu())
            on_batch(min(number * BATCH, len(self)) // self.timesteps)
        module.train(was_training)
        return self.means(errors)

    def score_base(self, module: Denoiser) -> list[float]:
        self._text = self.prepared.base_text or self.prepared.text
        try:
            with without_adapter(module.unet):
                return memoize(self._base_key, lambda: self.score(module)) if self._base_key else self.score(module)
        finally:
            self._text = self.prepared.text


def _noise(content: str, level: int, shape: torch.Size) -> torch.Tensor:
    seed = objective.key_seed("validation", content, level)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
