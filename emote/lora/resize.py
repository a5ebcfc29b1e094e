"""Change an adapter's rank or dtype, and measure what that costs.

Everything is computed in float64 on the factors: ΔW = alpha / rank · up · down is never formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import sqrt

import torch

from emote.lora.adapter_file import Adapter, Layer
from emote.util.errors import ConfigError

OF_THE_RANK = {"ss_network_dim", "ss_network_alpha", "ss_network_args"}  # kohya's texts on it
Track = Callable[[Iterable[str]], Iterable[str]]


@dataclass(frozen=True)
class Cost:
    """‖ΔW after − ΔW before‖ / ‖ΔW before‖ (Frobenius): of all layers together, and of the layer with the most."""

    overall: float
    worst: float
    worst_layer: str


def reduce_rank(adapter: Adapter, rank: int, track: Track = iter, dtype: torch.dtype | None = None) -> Adapter:
    """Return each layer's best approximation of that rank (Eckart and Young), with alpha = rank.

    A layer of no larger rank stays as it is, bit for bit. dtype: of the matrices that are computed; None: as they were.
    Raises ConfigError for a DoRA.
    """
    adapter.check_plain("reduced")
    layers = dict(adapter.layers)
    for name in track(sorted(layers)):
        layer = layers[name]
        if layer.rank > rank:
            layers[name] = _reduced(layer, rank, dtype or layer.down.dtype)
    told = {key: text for key, text in adapter.metadata.items() if key not in OF_THE_RANK}
    return replace(adapter, layers=layers, metadata=told)


def cast(adapter: Adapter, dtype: torch.dtype) -> Adapter:
    """Return the matrices in another dtype. Raises ConfigError for numbers that are too large for it."""
    layers = {
        name: replace(
            layer,
            down=layer.down.to(dtype),
            up=layer.up.to(dtype),
            magnitude=layer.magnitude if layer.magnitude is None else layer.magnitude.to(dtype),
        )
        for name, layer in adapter.layers.items()
    }
    for name, layer in layers.items():
        if not (torch.isfinite(layer.down).all() and torch.isfinite(layer.up).all()):
            short = str(dtype).removeprefix("torch.")
            raise ConfigError(f"dtype={short} cannot hold the numbers of {name}; set dtype=bf16 or float32")
    return replace(adapter, layers=layers)


def cost(before: Adapter, after: Adapter, track: Track = iter) -> Cost:
    """Return what `after` has lost of the same layers' ΔW. A layer that changes nothing has lost nothing."""
    lost, whole, worst, worst_layer = 0.0, 0.0, -1.0, ""
    for name in track(sorted(before.layers)):
        size = norm([before.layers[name]])
        same = _is_same(before.layers[name], after.layers[name])
        difference = 0.0 if same else norm([after.layers[name]], [before.layers[name]])
        lost, whole = lost + difference**2, whole + size**2
        relative = difference / size if size else 0.0
        if relative > worst:
            worst, worst_layer = relative, name
    return Cost(sqrt(lost / whole) if whole else 0.0, worst, worst_layer)


def norm(plus: list[Layer], minus: list[Layer] | None = None) -> float:
    """‖Σ ΔW of `plus` − Σ ΔW of `minus`‖ (Frobenius)."""
    signed = [(1.0, layer) for layer in plus] + [(-1.0, layer) for layer in minus or []]
    up = torch.cat([sign * layer.scale * layer.up.flatten(1).double() for sign, layer in signed], dim=1)
    down = torch.cat([layer.down.flatten(1).double() for _, layer in signed], dim=0)
    # the orthonormal factors do not change the norm
    return float(torch.linalg.norm(_triangle(up) @ _triangle(down.T).T))


def _is_same(one: Layer, other: Layer) -> bool:
    return one.alpha == other.alpha and torch.equal(one.down, other.down) and torch.equal(one.up, other.up)


def _reduced(layer: Layer, rank: int, dtype: torch.dtype) -> Layer:
    left, left_triangle = torch.linalg.qr(layer.up.flatten(1).double() * layer.scale)
    right, right_triangle = torch.linalg.qr(layer.down.flatten(1).double().T)
    u, singular, vh = torch.linalg.svd(left_triangle @ right_triangle.T)
    root = singular[:rank].sqrt()
    up = (left @ u[:, :rank]) * root
    down = root[:, None] * (vh[:rank] @ right.T)
    return Layer(
        down.reshape(rank, *layer.down.shape[1:]).to(dtype),
        up.reshape(layer.up.shape[0], rank, *layer.up.shape[2:]).to(dtype),
        float(rank),
    )


def _triangle(matrix: torch.Tensor) -> torch.Tensor:
    return torch.linalg.qr(matrix, mode="r").R
