"""LoRA on linear layers without its usual price: no conversion of activations, and one product for equal inputs.

The adapter's weights stay float32; a copy in the frozen weights' type multiplies, and is refreshed once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from peft.tuners.lora import LoraLayer
from torch import nn

from emote.lora.adapter import NAME


class _Adapted(torch.autograd.Function):
    """y = x Wᵀ + b + Σ s (x Aᵢᵀ) Bᵢᵀ, where the i-th adapter owns the i-th part of the outputs.

    Gradients reach the float32 weights; what multiplies are their copies in the type of W.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: AdaptedLinear, *masters: torch.Tensor) -> torch.Tensor:
        flat_NI = x.reshape(-1, x.shape[-1])
        down, ups = layer.down_half, layer.ups_half
        if layer.bias is None:
            out_NO = flat_NI @ layer.weight.t()
        else:
            out_NO = torch.addmm(layer.bias, flat_NI, layer.weight.t())
        low_NR = flat_NI @ down.t()
        for part, up, rows in zip(out_NO.split(layer.sizes, 1), ups, low_NR.split(layer.ranks, 1), strict=True):
            part.addmm_(rows, up.t(), alpha=layer.scale)
        ctx.save_for_backward(flat_NI, low_NR, down, *ups)
        ctx.layer, ctx.shape = layer, x.shape
        return out_NO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        flat_NI, low_NR, down, *ups = ctx.saved_tensors
        layer, gradient_NO = ctx.layer, gradients[0].reshape(-1, gradients[0].shape[-1])
        parts = gradient_NO.split(layer.sizes, 1)
        back_NR = torch.cat([(part @ up) for part, up in zip(parts, ups, strict=True)], 1) * layer.scale
        to_down = (back_NR.t() @ flat_NI).float().split(layer.ranks)
        to_ups = [
            (part.t() @ rows).float() * layer.scale
            for part, rows in zip(parts, low_NR.split(layer.ranks, 1), strict=True)
        ]
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = (gradient_NO @ layer.weight).addmm_(back_NR, down).view(ctx.shape)
        return to_input, None, *to_down, *to_ups


class AdaptedLinear(nn.Module):
    """Linear layers that read the same input, side by side, each with its adapter."""

    def __init__(self, layers: Sequence[LoraLayer]) -> None:
        super().__init__()
        parts: list[Any] = list(layers)
        bases = [part.base_layer for part in parts]
        self.sizes = [base.out_features for base in bases]
        self.ranks = [part.r[NAME] for part in parts]
        (self.scale,) = {part.scaling[NAME] for part in parts}
        alone = len(bases) == 1
        self.weight = bases[0].weight.data if alone else torch.cat([base.weight.data for base in bases])
        biases = [base.bias for base in bases]
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])
        self.downs = nn.ParameterList(part.lora_A[NAME].weight for part in parts)
        self.ups = nn.ParameterList(part.lora_B[NAME].weight for part in parts)
        self.down_half = self.weight.new_empty(sum(self.ranks), bases[0].in_features)
        self.ups_half = [self.weight.new_empty(up.shape) for up in self.ups]

    def pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(copy, float32 weight) of all that `refresh` copies."""
        return [
            *zip(self.down_half.split(self.ranks), self.downs, strict=True),
            *zip(self.ups_half, self.ups, strict=True),
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Adapted.apply(x, self, *self.downs, *self.ups)


class FusedAttention:
    """Attention of the transformer blocks of Stable Diffusion, with the projections of `fuse` or `keep_text`."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if attention_mask is not None:
            raise ValueError("attention masks are not supported here")
        if encoder_hidden_states is None:
            query, key, value = attn.all_at_once(hidden_states).chunk(3, -1)
        elif getattr(attn, "text_at_once", None) is not None:
            query = attn.to_q(hidden_states)
            key, value = attn.text_at_once(encoder_hidden_states).chunk(2, -1)
        elif getattr(attn, "kept_text", None) is not None:
            query, (key, value) = attn.to_q(hidden_states), attn.kept_text
        else:
            query = attn.to_q(hidden_states)
            key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        query, key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (query, key, value))
        out = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


class FastAdapter:
    """Replaces peft's layers of a UNet. Its parameters stay the very tensors that `trainable` named before."""

    def __init__(self, unet: Any, *, fuse: bool, keep_text: bool) -> None:
        """keep_text: `remember_text` gives keys and values of the text, on which there is no adapter."""
        self.unet, self.keep_text = unet, keep_text
        self.layers: list[AdaptedLinear] = []
        if fuse or keep_text:
            for attn in [module for module in unet.modules() if isinstance(module, Attention)]:
                self._fuse(attn)
        for name, module in list(unet.named_modules()):
            if isinstance(module, LoraLayer) and isinstance(module.base_layer, nn.Linear):
                unet.set_submodule(name, self._adapted([module]))
        copies, masters = zip(*(pair for layer in self.layers for pair in layer.pairs()), strict=True)
        self._copies, self._masters = list(copies), [master.detach() for master in masters]
        self.refresh()

    def refresh(self) -> None:
        """Convert the adapter's weights for the products of a step."""
        torch._foreach_copy_(self._copies, self._masters)

    @torch.no_grad()
    def remember_text(self, embedding_BTD: torch.Tensor) -> None:
        """Compute keys and values of a batch's texts, or write them over the last ones (a graph reads there)."""
        for module in self.unet.modules():
            if isinstance(module, Attention) and hasattr(module, "kept_text"):
                found = (module.to_k(embedding_BTD), module.to_v(embedding_BTD))
                if module.kept_text is None:
                    module.kept_text = found
                else:
                    torch._foreach_copy_(list(module.kept_text), list(found))

    def _adapted(self, layers: Sequence[Any]) -> AdaptedLinear:
        layer = AdaptedLinear(layers)
        self.layers.append(layer)
        return layer

    def _fuse(self, attn: Any) -> None:
        if attn.group_norm is not None or attn.residual_connection or attn.rescale_output_factor != 1:
            raise ValueError("only the attention of transformer blocks can be fused")
        if not attn.is_cross_attention:
            attn.all_at_once = self._adapted([attn.to_q, attn.to_k, attn.to_v])
            attn.to_q = attn.to_k = attn.to_v = None
        elif self.keep_text:
            attn.kept_text = None
        elif isinstance(attn.to_k, LoraLayer):
            attn.text_at_once = self._adapted([attn.to_k, attn.to_v])
            attn.to_k = attn.to_v = None
        attn.set_processor(FusedAttention())
