"""Nested ranks: one adapter whose first r components are an adapter of rank r, for every r of `lora.nested`.

Between A and B stands a diagonal that says how much each component counts while it is trained, so a step costs what
one of a plain LoRA of the largest rank does. Two ways to choose it (`lora.nested_by`): the mean of all truncated
adapters (MatryoshkaLoRA, arXiv 2605.07850), or one of them, drawn anew at each step (DyLoRA, arXiv 2210.07558).

The scale of rank r is that of a separate run with lora.rank=r and lora.alpha × r / lora.rank: where alpha follows the
rank it is 1 at each, and for rsLoRA √r. R in a name is the largest rank, K counts the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from emote.config import LoraConfig, NestedBy
from emote.data.order import key_seed
from emote.lora.adapter import NAME, effective_alpha
from emote.lora.adapter_file import Adapter


def lora_of_rank(lora: LoraConfig, rank: int) -> LoraConfig:
    """Return the settings of the separate adapter that the first `rank` components are."""
    return replace(lora, rank=rank, alpha=lora.alpha * rank / lora.rank, nested=[])


def truncated(adapter: Adapter, lora: LoraConfig, rank: int) -> Adapter:
    """Return the first components of the UNet's layers as an adapter with a rank and alpha of its own."""
    alpha = effective_alpha(lora_of_rank(lora, rank))
    layers = {
        name: replace(layer, down=layer.down[:rank].contiguous(), up=layer.up[:, :rank].contiguous(), alpha=alpha)
        if name.startswith("unet.")
        else layer
        for name, layer in adapter.layers.items()
    }
    return replace(adapter, layers=layers)


def rank_at(lora: LoraConfig, seed: int, step: int) -> int:
    """Return the rank that is trained at a step where one is drawn: each as likely, a function of (seed, step)."""
    return lora.nested[key_seed("rank", seed, step) % len(lora.nested)]


def diagonal_of_rank(lora: LoraConfig, rank: int) -> list[float]:
    """Return what makes of the whole adapter's forward that of its first components: [R], their scale over the
    whole's, then zeros."""
    scale = effective_alpha(lora_of_rank(lora, rank)) / rank
    return [scale / (effective_alpha(lora) / lora.rank)] * rank + [0.0] * (lora.rank - rank)


def mean_diagonal(lora: LoraConfig) -> list[float]:
    """Return the [R] of the mean of all truncated adapters: B diag(d) A = 1/K · Σ of scale · B[:, :r] A[:r]."""
    rows_KR = [diagonal_of_rank(lora, rank) for rank in lora.nested]
    return [sum(column) / len(rows_KR) for column in zip(*rows_KR, strict=True)]


class Nested:
    """How much each component of an attached adapter counts: in training what `at_step` chose, else all of it or what
    `only` says. A hook between A and B of every layer, which acts by the layer's mode, as dropout does."""

    def __init__(self, unet: nn.Module, lora: LoraConfig) -> None:
        self.lora = lora
        self._table_NR = torch.tensor([mean_diagonal(lora), *(diagonal_of_rank(lora, rank) for rank in lora.nested)])
        self._trained = 0  # row of the table
        self._evaluated: int | None = None
        for layer in (module for module in unet.modules() if isinstance(module, LoraLayer)):
            layer.lora_A[NAME].register_forward_hook(self)

    def at_step(self, seed: int, step: int) -> None:
        """Choose what the passes of a step train."""
        if self.lora.nested_by is NestedBy.draw:
            self._trained = 1 + self.lora.nested.index(rank_at(self.lora, seed, step))

    @contextmanager
    def only(self, rank: int) -> Iterator[None]:
        """Within, and outside of training mode, the adapter computes what its first components do alone."""
        self._evaluated = 1 + self.lora.nested.index(rank)
        try:
            yield
        finally:
            self._evaluated = None

    def __call__(self, down: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        """output: of A, [..., R] or [B, R, H, W]."""
        row = self._trained if down.training else self._evaluated
        if row is None:
            return output
        if self._table_NR.device != output.device:  # once
            self._table_NR = self._table_NR.to(output.device)
        diagonal_R = self._table_NR[row].to(output.dtype)
        return output * (diagonal_R[:, None, None] if isinstance(down, nn.Conv2d) else diagonal_R)
