"""The training objective of latent diffusion: pure functions of tensors, and of (seed, step, position).

No randomness here has a state. Each number drawn is a function of the seed, the optimizer step and the
position of the sample in the global batch, so that resuming needs nothing stored, splitting a batch over
micro-batches or devices changes nothing, and two runs with one seed see the same noise.

Letters in names are axes: B batch, C channels, H height, W width, T tokens, D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from emote.data.order import key_seed


class Predict(Protocol):
    """The model's answer to noisy latents [B, C, H, W], with the batch's captions and the adapter unless told.

    timesteps_B: None for those that were drawn.  captioned: else the empty caption is said.  adapted: else the frozen
    model answers.
    """

    def __call__(
        self,
        noisy_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor | None = None,
        *,
        captioned: bool = True,
        adapted: bool = True,
    ) -> torch.Tensor: ...


def nothing_drawn(purpose: str) -> torch.Tensor:
    raise RuntimeError(f"no {purpose} is drawn outside training")


@dataclass(frozen=True)
class Drawn:
    """A batch with all that was drawn for it. predict: asks the model.

    uniform_B: more numbers [B] in [0, 1), float64, for a purpose of the objective's own; keyed as all others.
    weights_BHW: how much each place counts; None for all alike.
    """

    latents_BCHW: torch.Tensor
    noise_BCHW: torch.Tensor
    timesteps_B: torch.Tensor
    alphas_cumprod: torch.Tensor
    prediction_type: str
    predict: Predict
    uniform_B: Callable[[str], torch.Tensor] = nothing_drawn
    weights_BHW: torch.Tensor | None = None

    def answer_and_target(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the model answers to the noisy latents, and what it should, each [B, C, H, W]."""
        noisy_BCHW = add_noise(self.latents_BCHW, self.noise_BCHW, self.timesteps_B, self.alphas_cumprod)
        wanted = target(self.latents_BCHW, self.noise_BCHW, self.timesteps_B, self.alphas_cumprod, self.prediction_type)
        return self.predict(noisy_BCHW), wanted

    def mean(self, error_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the mean of each sample [B] over channels and places, these as they count."""
        if self.weights_BHW is None:
            return error_BCHW.mean(dim=(1, 2, 3))
        weights_BHW = self.weights_BHW.to(error_BCHW)
        return (error_BCHW.mean(dim=1) * weights_BHW).sum(dim=(1, 2)) / weights_BHW.sum(dim=(1, 2))


def normal(purpose: str, seed: int, step: int, positions_B: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Return standard normal numbers [B, *shape], float32 on the CPU, each row keyed by its position alone."""
    rows = [
        torch.randn(*shape, generator=torch.Generator().manual_seed(key_seed(purpose, seed, step, position)))
        for position in positions_B
    ]
    return torch.stack(rows)


def uniform(purpose: str, seed: int, step: int, positions_B: Sequence[int]) -> torch.Tensor:
    """Return uniform numbers [B] in [0, 1), keyed as in `normal`."""
    # of 63 bits the 53 that a float64 holds: more would be rounded, the largest up to 1
    keys = [key_seed(purpose, seed, step, position) >> 10 for position in positions_B]
    return torch.tensor([key / 2**53 for key in keys], dtype=torch.float64)


def noise(seed: int, step: int, positions_B: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    return normal("noise", seed, step, positions_B, shape)


def offset_noise(
    noise_BCHW: torch.Tensor, strength: float, seed: int, step: int, positions_B: Sequence[int]
) -> torch.Tensor:
    """Add to each channel of each sample a normal number times `strength`, the same at all its places.

    So that brightness as a whole is noise too (Guttenberg 2023, Diffusion with offset noise). 0 changes nothing.
    """
    if not strength:
        return noise_BCHW
    offset = normal("noise offset", seed, step, positions_B, (noise_BCHW.shape[1], 1, 1)).to(noise_BCHW)
    return noise_BCHW + strength * offset


def timesteps(seed: int, step: int, positions_B: Sequence[int], count: int) -> torch.Tensor:
    """Return uniform integers [B] in [0, count)."""
    return (uniform("timestep", seed, step, positions_B) * count).long()


def sample_posterior(
    mean_BCHW: torch.Tensor, logvar_BCHW: torch.Tensor, seed: int, step: int, positions_B: Sequence[int]
) -> torch.Tensor:
    """Return a fresh sample of the autoencoder's posterior at each step, as in training without a cache."""
    drawn = normal("posterior", seed, step, positions_B, mean_BCHW.shape[1:]).to(mean_BCHW)
    return mean_BCHW + (0.5 * logvar_BCHW).exp() * drawn


def drop_captions(
    embedding_BTD: torch.Tensor, empty_TD: torch.Tensor, share: float, seed: int, step: int, positions_B: Sequence[int]
) -> torch.Tensor:
    """Replace a share of the captions by the empty one, so that guidance has something to push away from.

    Ho and Salimans, classifier-free diffusion guidance, arXiv 2207.12598.
    """
    if share <= 0:
        return embedding_BTD
    dropped_B = uniform("caption", seed, step, positions_B) < share
    return torch.where(dropped_B[:, None, None].to(embedding_BTD.device), empty_TD.to(embedding_BTD), embedding_BTD)


def add_noise(
    latents_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, timesteps_B: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) ε (Ho et al., arXiv 2006.11239, equation 4)."""
    signal, spread = _factors(alphas_cumprod, timesteps_B, latents_BCHW)
    return signal * latents_BCHW + spread * noise_BCHW


def target(
    latents_BCHW: torch.Tensor,
    noise_BCHW: torch.Tensor,
    timesteps_B: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    prediction_type: str,
) -> torch.Tensor:
    """Return what the UNet should answer: ε, or v = sqrt(ᾱ_t) ε − sqrt(1 − ᾱ_t) x_0 (arXiv 2202.00512, appendix D).

    Raises ValueError for a prediction type other than `epsilon` and `v_prediction`.
    """
    if prediction_type == "epsilon":
        return noise_BCHW
    if prediction_type == "v_prediction":
        signal, spread = _factors(alphas_cumprod, timesteps_B, latents_BCHW)
        return signal * noise_BCHW - spread * latents_BCHW
    raise ValueError(f"prediction_type must be epsilon or v_prediction, got {prediction_type}")


def split_prediction(
    predicted_BCHW: torch.Tensor,
    noisy_BCHW: torch.Tensor,
    timesteps_B: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    prediction_type: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x_0, ε) that a prediction of ε or v says of noisy latents: `add_noise` solved for both (see `target`)."""
    signal, spread = _factors(alphas_cumprod, timesteps_B, noisy_BCHW)
    if prediction_type == "epsilon":
        return (noisy_BCHW - spread * predicted_BCHW) / signal, predicted_BCHW
    return signal * noisy_BCHW - spread * predicted_BCHW, signal * predicted_BCHW + spread * noisy_BCHW


def min_snr_weight(
    timesteps_B: torch.Tensor, alphas_cumprod: torch.Tensor, gamma: float | None, prediction_type: str
) -> torch.Tensor:
    """min(SNR, γ) / SNR for ε, min(SNR, γ) / (SNR + 1) for v (Hang et al., arXiv 2303.09556); ones without γ."""
    alpha_B = alphas_cumprod.to(timesteps_B.device)[timesteps_B].float()
    if gamma is None:
        return torch.ones_like(alpha_B)
    snr_B = alpha_B / (1 - alpha_B)
    return snr_B.clamp(max=gamma) / (snr_B if prediction_type == "epsilon" else snr_B + 1)


def squared_error(predicted_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of each sample [B], in float32 whatever the UNet computed in."""
    return (predicted_BCHW.float() - target_BCHW.float()).square().mean(dim=(1, 2, 3))


def _factors(
    alphas_cumprod: torch.Tensor, timesteps_B: torch.Tensor, like_BCHW: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    alpha_B111 = alphas_cumprod.to(timesteps_B.device)[timesteps_B].to(like_BCHW)[:, None, None, None]
    return alpha_B111.sqrt(), (1 - alpha_B111).sqrt()
