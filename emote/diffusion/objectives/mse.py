"""Squared error of the noise or velocity that the model was trained to predict (arXiv 2006.11239, 2202.00512)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emote.diffusion import objective

if TYPE_CHECKING:
    import torch


def training_error(drawn: objective.Drawn) -> torch.Tensor:
    """Return the squared error of each sample [B]."""
    predicted_BCHW, wanted_BCHW = drawn.answer_and_target()
    return drawn.mean((predicted_BCHW.float() - wanted_BCHW.float()).square())
