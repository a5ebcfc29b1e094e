"""Squared error of the noise or velocity that the model was trained to predict (arXiv 2006.11239, 2202.00512)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emote.diffusion import objective

if TYPE_CHECKING:
    import torch


def training_error(drawn: objective.Drawn) -> torch.Tensor:
    """Return the squared error of each sample [B]."""
    predicted_BCHW = drawn.predict(
        objective.add_noise(drawn.latents_BCHW, drawn.noise_BCHW, drawn.timesteps_B, drawn.alphas_cumprod)
    )
    wanted_BCHW = objective.target(
        drawn.latents_BCHW, drawn.noise_BCHW, drawn.timesteps_B, drawn.alphas_cumprod, drawn.prediction_type
    )
    return objective.squared_error(predicted_BCHW, wanted_BCHW)
