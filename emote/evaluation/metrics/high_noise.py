"""Held-out loss over the noisier half of the levels, where composition is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def measure(losses_EL: torch.Tensor) -> float:
    """losses_EL: [examples, noise levels], the noisiest last."""
    return float(losses_EL[:, losses_EL.shape[1] // 2 :].mean())
