"""Several adapters on one frozen UNet, computed in one pass: each on its own part of the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from torch import nn

from emote.model.adapter import NAME


def share_frozen(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet with modules of its own over the same weights: an adapter on one does not show in the other."""
    weights = (*unet.parameters(), *unet.buffers())
    return copy.deepcopy(unet, {id(tensor): tensor for tensor in weights})


class PackedLayer(nn.Module):
    """A layer with the adapters that several UNets have on it: its weights act once, on all parts of the batch."""

    def __init__(self, layers: Sequence[LoraLayer]) -> None:
        """layers: the same one of each UNet."""
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: the batches of all UNets, one after the other [N × B, …]."""
        layers: list[Any] = list(self.layers)
        inputs = _dropped(layers[0].lora_dropout[NAME], x.chunk(len(layers)))
        outputs = layers[0].base_layer(x).chunk(len(layers))
        return torch.cat([_adapted(*each) for each in zip(layers, inputs, outputs, strict=True)])


def _dropped(dropout: nn.Module, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """What is drawn once for all is what each UNet alone would draw from the same seed."""
    if isinstance(dropout, nn.Identity) or not dropout.training:
        return inputs
    kept = dropout(torch.ones_like(inputs[0]))
    return [each * kept for each in inputs]


def _adapted(layer: Any, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """As peft computes it."""
    down, up = layer.lora_A[NAME], layer.lora_B[NAME]
    return (output + up(down(x.to(down.weight.dtype))) * layer.scaling[NAME]).to(output.dtype)


def pack(unets: Sequence[UNet2DConditionModel], frozen: UNet2DConditionModel) -> UNet2DConditionModel:
    """One UNet that computes all of them, for N × B samples: the first B by the first UNet, and so on.

    unets: each with an adapter on the same layers, over the weights of `frozen`. Its parameters are theirs.
    """
    packed = share_frozen(frozen)
    for name, module in unets[0].named_modules():
        if isinstance(module, LoraLayer):
            packed.set_submodule(name, PackedLayer([unet.get_submodule(name) for unet in unets]))
    return packed
