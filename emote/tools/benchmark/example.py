"""The reference: a training step as `examples/text_to_image/train_text_to_image_lora.py` of diffusers makes it."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from emote.lora.adapter import trainable
from emote.models.precision import DTYPES
from emote.tools.benchmark.arms import Arm, Rung
from emote.tools.benchmark.base import random_text_encoder, random_vae
from emote.tools.benchmark.rows import Sizes, cached_rows, raw_rows
from emote.tools.benchmark.scaling import steps_left_out


class ExampleStep:
    """Encoders in the loop unless the arm is cached; autocast, gradient scaling, clipping, AdamW; the loss is read."""

    def __init__(
        self, arm: Arm, base: Path, unet: UNet2DConditionModel, schedule: DDPMScheduler, sizes: Sizes,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.arm, self.unet, self.schedule, self.device = arm, unet, schedule, device
        self.dtype = DTYPES[arm.precision]
        self.weights = self.dtype if arm.example_half else torch.float32
        self.parameters = list(trainable(unet).values())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.count = 0
        if Rung.cached in arm:
            self.rows = cached_rows(sizes, arm.batch)
        else:
            self.rows = raw_rows(sizes, arm.batch)
            self.vae = random_vae(base, self.weights, device)
            self.text_encoder = random_text_encoder(base, self.weights, device)

    @property
    def skipped(self) -> int:
        return steps_left_out(self.scaler)

    def __call__(self) -> float:
        """Make a step and return its loss."""
        row = {name: value.to(self.device) for name, value in self.rows[self.count % len(self.rows)].items()}
        total = torch.zeros((), device=self.device)
        passes = self.arm.batch // self.arm.micro_batch
        for start in range(0, self.arm.batch, self.arm.micro_batch):
            part = {name: value[start : start + self.arm.micro_batch] for name, value in row.items()}
            loss = self._loss(part) / passes
            self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.count += 1
        return float(total)

    def _loss(self, row: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            latents, embedding = self._encoded(row)
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, self.schedule.config.num_train_timesteps, (len(latents),), device=self.device)
            noisy = self.schedule.add_noise(latents, noise, timesteps)
            predicted = self.unet(noisy, timesteps, embedding).sample
            return F.mse_loss(predicted.float(), noise.float())

    @torch.no_grad()
    def _encoded(self, row: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        if Rung.cached in self.arm:
            latents = row["mean"] + (0.5 * row["logvar"]).exp() * torch.randn_like(row["mean"])
            return latents.to(self.weights), row["embedding"].to(self.weights)
        latents = self.vae.encode(row["pixels"].to(self.weights)).latent_dist.sample()
        return latents * self.vae.config.scaling_factor, self.text_encoder(row["tokens"])[0]
