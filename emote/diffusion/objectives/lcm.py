"""Latent consistency: a few steps without guidance draw what the frozen model draws in many with it (arXiv 2310.04378).

The adapter becomes a speed adapter (LCM-LoRA, arXiv 2311.05556). Of noisy latents x_t the student says f(x_t, t), an
image; the frozen model takes one step of DDIM with guidance from x_t to x_s, s < t, and the student is to say the same
image there. The strength of the guidance is drawn for each sample and not told to the student.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emote.config import key

if TYPE_CHECKING:
    import torch

    from emote.diffusion.objective import Drawn

# as diffusers' LCMScheduler has them, which draws with what is learned
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
MORE_FORWARDS = 3  # passes beside that of the student: two of the frozen model, and the student's at the other end


@dataclass
class Options:
    guidance_from: float = key("the frozen model's guidance is drawn between this", default=3.0, at_least=1)
    guidance_to: float = key("and this", default=7.0, at_least=1)
    teacher_steps: int = key("steps of the frozen model from noise to image, one of which is taken", default=50,
                             at_least=2, at_most=1000)  # fmt: skip
    huber_c: float = key("below this size errors count squared, above it as they are", default=0.001, above=0)


def problems(trainer: Any) -> Iterator[str]:
    """Yield what is wrong with the section in which this objective is chosen."""
    options = trainer.options.lcm if hasattr(trainer.options, "lcm") else Options()
    if options.guidance_to < options.guidance_from:
        yield (
            f"trainer.options.lcm.guidance_to must be at least guidance_from={options.guidance_from:g}, got "
            f"{options.guidance_to:g}"
        )
    if trainer.snr_gamma is not None:
        yield (
            f"trainer.snr_gamma weighs errors of the noise, and trainer.objective=lcm compares images, got "
            f"{trainer.snr_gamma:g}; set trainer.snr_gamma=null"
        )


def training_error(drawn: Drawn, options: Options) -> torch.Tensor:
    """Return the pseudo-Huber distance of each sample [B] between what the student says at both ends of a step."""
    import torch

    from emote.diffusion import objective

    def split(predicted_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, at_B: torch.Tensor) -> tuple[Any, Any]:
        return objective.split_prediction(
            predicted_BCHW.float(), noisy_BCHW, at_B, drawn.alphas_cumprod, drawn.prediction_type
        )

    def student(noisy_BCHW: torch.Tensor, at_B: torch.Tensor) -> torch.Tensor:
        image_BCHW, _ = split(drawn.predict(noisy_BCHW, at_B), noisy_BCHW, at_B)
        keep_B111, take_B111 = boundary(at_B)
        return keep_B111 * noisy_BCHW + take_B111 * image_BCHW

    from_B, to_B = step_of(drawn.timesteps_B, len(drawn.alphas_cumprod), options.teacher_steps)
    noisy_BCHW = objective.add_noise(drawn.latents_BCHW, drawn.noise_BCHW, from_B, drawn.alphas_cumprod)
    span = options.guidance_to - options.guidance_from
    guidance_B111 = (options.guidance_from + span * drawn.uniform_B("guidance")).float()[:, None, None, None]
    with torch.no_grad():
        without_BCHW = drawn.predict(noisy_BCHW, from_B, captioned=False, adapted=False).float()
        with_BCHW = drawn.predict(noisy_BCHW, from_B, adapted=False).float()
        guided_BCHW = without_BCHW + guidance_B111 * (with_BCHW - without_BCHW)
        # one step of DDIM (arXiv 2010.02502, equation 12 with σ = 0): the same image and noise, less of the latter
        nearer_BCHW = objective.add_noise(*split(guided_BCHW, noisy_BCHW, from_B), to_B, drawn.alphas_cumprod)
        wanted_BCHW = student(nearer_BCHW, to_B)
    apart_BCHW = student(noisy_BCHW, from_B) - wanted_BCHW
    c = options.huber_c
    return drawn.mean((apart_BCHW.square() + c**2).sqrt() - c)


def step_of(timesteps_B: torch.Tensor, count: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two ends [B], the noisier first, of the frozen model's step in which each timestep lies.

    count: of timesteps. steps: of the frozen model. The last step ends at timestep 0, where the student says x itself.
    """
    stride = count // steps
    from_B = (timesteps_B // stride).clamp(max=steps - 1) * stride + stride - 1
    return from_B, (from_B - stride).clamp(min=0)


def boundary(timesteps_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return c_skip and c_out [B, 1, 1, 1]: f(x, t) = c_skip x + c_out x_0, which is x at t = 0 (arXiv 2303.01469)."""
    scaled_B111 = (timesteps_B.float() * TIMESTEP_SCALING)[:, None, None, None]
    keep = SIGMA_DATA**2 / (scaled_B111.square() + SIGMA_DATA**2)
    return keep, scaled_B111 / (scaled_B111.square() + SIGMA_DATA**2).sqrt()
