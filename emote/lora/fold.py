"""An adapter folded into the weights: drawing with it costs what drawing without it does, and it comes out exactly."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from emote.lora.adapter import NAME


class Folding:
    """Of the adapter layers on the parts of a pipeline, of one strength at a time.

    While it is folded in, a second copy of every adapted weight is kept, which is what comes back: subtracting would
    leave rounding behind. A strength gives the same bits whatever was folded in before.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[LoraLayer, torch.Tensor]] = []
        self._strength: float | None = None

    def fold(self, parts: Iterable[nn.Module], strength: float) -> None:
        """Fold the layers of all parts in at this strength; nothing is done where they are already."""
        if strength == self._strength:
            return
        self.take_out()
        for layer in (module for part in parts for module in part.modules() if isinstance(module, LoraLayer)):
            weight = layer.get_base_layer().weight
            self._kept.append((layer, weight.data))
            weight.data = weight.data.clone()
            layer.set_scale(NAME, strength)
            layer.merge()
        self._strength = strength

    def take_out(self) -> None:
        """Leave the parts as they were: with their layers beside the weights, at strength 1."""
        for layer, weight in self._kept:
            layer.get_base_layer().weight.data = weight
            layer.merged_adapters.clear()
            layer.set_scale(NAME, 1.0)
        self._kept, self._strength = [], None
