"""Where cross-attention looks for each token, recorded while the UNet computes what it always does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F


@dataclass
class AttentionMaps:
    """calls: for every cross-attention layer, in the order of computing, its probabilities [B, H·W, T]."""

    calls: list[torch.Tensor] = field(default_factory=list)

    def of_tokens(self, row: int, size: tuple[int, int]) -> torch.Tensor:
        """[T, H, W], float32 on the CPU: the mean over layers, heads and calls, of one row of the batch.

        size: (H, W) of the latents; coarser layers are enlarged to it. Over the tokens each place sums to one.
        Raises ValueError where nothing was recorded.
        """
        if not self.calls:
            raise ValueError("no cross-attention was recorded; call the UNet within `recorded`")
        return torch.stack([_on_latents(call[row], size) for call in self.calls]).mean(dim=0)


@contextmanager
def recorded(unet: Any) -> Iterator[AttentionMaps]:
    """Within, every call of the UNet adds what its cross-attention layers look at; its output stays the same bits."""
    maps, processors = AttentionMaps(), unet.attn_processors
    unet.set_attn_processor({name: _Recorder(maps, processor) for name, processor in processors.items()})
    try:
        yield maps
    finally:
        unet.set_attn_processor(processors)


class _Recorder:
    """An attention processor of diffusers that computes as another one does, and notes the probabilities."""

    def __init__(self, maps: AttentionMaps, computes: Any) -> None:
        self.maps, self.computes = maps, computes

    def __call__(
        self, layer: Any, hidden: torch.Tensor, encoder_hidden_states: Any = None, *rest: Any, **more: Any
    ) -> Any:
        if encoder_hidden_states is not None:  # else the image attends to itself
            query = layer.head_to_batch_dim(layer.to_q(hidden))
            key = layer.head_to_batch_dim(layer.to_k(encoder_hidden_states))
            probabilities = layer.get_attention_scores(query, key)  # softmax(q·kᵀ / √d)
            # the mean over heads at once: Stable Diffusion 1.5 would fill gigabytes in twenty steps
            looked_BPT = probabilities.detach().float().unflatten(0, (len(hidden), -1)).mean(dim=1)
            self.maps.calls.append(looked_BPT.cpu())
        return self.computes(layer, hidden, encoder_hidden_states, *rest, **more)


def _on_latents(looked_PT: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[places, T] to [T, H, W]; a coarser layer has the proportions of the latents."""
    height, width = size
    shrink = (height * width / len(looked_PT)) ** 0.5
    map_1THW = looked_PT.T.reshape(1, -1, round(height / shrink), round(width / shrink))
    return F.interpolate(map_1THW, size=size, mode="bilinear")[0]
