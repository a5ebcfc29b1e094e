"""Min-SNR with trainer.snr_gamma, all alike without it (arXiv 2303.09556)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emote.diffusion import objective

if TYPE_CHECKING:
    import torch

    from emote.config import TrainerConfig


def loss_weight(
    timesteps_B: torch.Tensor, alphas_cumprod: torch.Tensor, prediction_type: str, config: TrainerConfig
) -> torch.Tensor:
    """Return the weight of each sample [B]."""
    return objective.min_snr_weight(timesteps_B, alphas_cumprod, config.snr_gamma, prediction_type)
