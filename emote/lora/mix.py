"""Several adapters as one: Σ weight · ΔW of each, exactly, as one LoRA whose matrices are theirs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from emote.lora.adapter_file import Adapter, Layer
from emote.lora.base_family import Base
from emote.util.errors import ConfigError
from emote.util.hints import listed


@dataclass(frozen=True)
class Part:
    """label: for messages. weight: multiplies what the adapter does; 1 is as trained."""

    label: str
    adapter: Adapter
    weight: float


def mix(parts: Sequence[Part]) -> Adapter:
    """Return one adapter that changes each weight by the sum of what the parts do to it, times their weights.

    A layer's rank is the sum of the ranks of those that have it, its alpha its rank; nothing is approximated, and
    float32 rounds once. Raises ConfigError for a DoRA, for parts of different base models, and where nothing is mixed.
    """
    for part in parts:
        check_mixed(part.label, part.adapter.is_dora)
    check_bases([(part.label, part.adapter.base) for part in parts])
    owners: dict[str, list[tuple[Layer, float]]] = {}
    for part in parts:
        for name, layer in part.adapter.layers.items() if part.weight else ():
            owners.setdefault(name, []).append((layer, part.weight))
    if not owners:
        raise ConfigError("run: a mix of adapters whose weights are all 0 does nothing; set run=base")
    odd = [name for name, own in owners.items() if len({_ends(layer) for layer, _ in own}) > 1]
    if odd:
        raise ConfigError(f"run: {listed(p.label for p in parts)} are of different base models ({listed(odd)} differ)")
    return Adapter({name: _side_by_side(owners[name]) for name in sorted(owners)}, parts[0].adapter.base)


def check_mixed(label: str, is_dora: bool) -> None:
    """Raise ConfigError for a DoRA, which is no difference of weights: it rescales the rows of the changed weight."""
    if is_dora:
        raise ConfigError(
            f"run: {label} is a DoRA, which cannot be mixed: it sets the length of each row of the changed weight, and "
            "two such changes do not add up; use it alone, or train it with lora.variant=lora"
        )


def check_bases(found: Sequence[tuple[str, Base]]) -> None:
    """Raise ConfigError for parts, as (label, base), that are known to be of different base models."""
    if len({base for _, base in found if base is not Base.unknown}) > 1:
        named = ", ".join(f"{label} of {base.value}" for label, base in found)
        raise ConfigError(f"run: adapters of one base model can be mixed, got {named}")


def _ends(layer: Layer) -> tuple[object, ...]:
    return layer.up.shape[0], layer.down.shape[1:]


def _side_by_side(own: Sequence[tuple[Layer, float]]) -> Layer:
    down = torch.cat([layer.down.float() for layer, _ in own], dim=0)
    up = torch.cat([layer.up.float() * (weight * layer.scale) for layer, weight in own], dim=1)
    return Layer(down.contiguous(), up.contiguous(), float(down.shape[0]))
