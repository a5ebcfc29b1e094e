"""The LightningModule: it wires the UNet to the objective and holds no maths of its own."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from emote.config import SCHEDULE, TrainerConfig
from emote.diffusion import objective
from emote.lora.adapter import adapter_state, load_adapter_state, trainable
from emote.models.conditioning import predict
from emote.training.distributed.process_group import mean_over_processes

Batch = dict[str, torch.Tensor]


class LoraModule(pl.LightningModule):
    """A frozen UNet with a LoRA adapter. Batches are rows of the cache: see `emote.data.prepared`."""

    alphas_cumprod: torch.Tensor
    empty_TD: torch.Tensor

    def __init__(
        self,
        unet: UNet2DConditionModel,
        noise_scheduler: DDPMScheduler,
        empty_TD: torch.Tensor,
        trainer_config: TrainerConfig,
        seed: int,
        pixels_a_latent: int = 8,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.config = trainer_config
        self.seed = seed
        self.pixels_a_latent = pixels_a_latent  # a side
        self.prediction_type: str = noise_scheduler.config.prediction_type
        self.register_buffer("alphas_cumprod", noise_scheduler.alphas_cumprod.clone(), persistent=False)
        self.register_buffer("empty_TD", empty_TD.clone(), persistent=False)
        self.grad_norm = math.nan  # before clipping, of the last optimizer step
        self.row: dict[str, float] = {}  # what callbacks measured in the current step
        self._losses: list[torch.Tensor] = []

    def denoising_error(
        self,
        latents_BCHW: torch.Tensor,
        noise_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        embedding_BTD: torch.Tensor,
    ) -> torch.Tensor:
        """Squared error of the UNet's prediction, one number a sample [B]. Training and validation share it."""
        dtype = self.unet.dtype
        noisy_BCHW = objective.add_noise(latents_BCHW, noise_BCHW, timesteps_B, self.alphas_cumprod)
        height, width = (side * self.pixels_a_latent for side in latents_BCHW.shape[2:])
        predicted_BCHW = predict(self.unet, noisy_BCHW.to(dtype), timesteps_B, embedding_BTD.to(dtype), (height, width))
        wanted_BCHW = objective.target(latents_BCHW, noise_BCHW, timesteps_B, self.alphas_cumprod, self.prediction_type)
        return objective.squared_error(predicted_BCHW, wanted_BCHW)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = self.weighted_error(batch).mean()
        self.note_loss(loss)
        return loss

    def weighted_error(self, batch: Batch) -> torch.Tensor:
        """What training lowers the mean of, one number a sample [B]."""
        config, mean_BCHW = self.config, batch["mean"]
        positions_B = batch["position"].tolist()
        step = positions_B[0] // config.batch_size
        places_B = [position % config.batch_size for position in positions_B]
        latents_BCHW = objective.sample_posterior(mean_BCHW, batch["logvar"], self.seed, step, places_B)
        noise_BCHW = objective.noise(self.seed, step, places_B, mean_BCHW.shape[1:]).to(mean_BCHW)
        timesteps_B = objective.timesteps(self.seed, step, places_B, len(self.alphas_cumprod)).to(self.device)
        embedding_BTD = objective.drop_captions(
            batch["embedding"], self.empty_TD, config.caption_dropout, self.seed, step, places_B
        )
        # the adapter's dropout takes no generator: the global one is keyed to the micro-batch instead
        torch.manual_seed(objective.key_seed("dropout", self.seed, step, places_B[0]))
        error_B = self.denoising_error(latents_BCHW, noise_BCHW, timesteps_B, embedding_BTD)
        weight_B = objective.min_snr_weight(timesteps_B, self.alphas_cumprod, config.snr_gamma, self.prediction_type)
        return weight_B * error_B

    def note_loss(self, loss: torch.Tensor) -> None:
        """Of a micro-batch."""
        self._losses.append(loss.detach())

    def take_loss(self) -> float:
        """The mean over the micro-batches of the last optimizer step, of all processes that train together."""
        mean = float(mean_over_processes(torch.stack(self._losses).mean()))
        self._losses.clear()
        return mean

    def is_finite(self) -> bool:
        """Whether the losses of the optimizer step that is being computed are numbers."""
        return bool(torch.stack(self._losses).isfinite().all())

    def forget_losses(self) -> None:
        """Of passes that were no part of training."""
        self._losses.clear()

    @property
    def learning_rate(self) -> float:
        """Of the last optimizer step."""
        return self.config.learning_rate * learning_rate_factor(self.config, self.trainer.global_step - 1)

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.AdamW(
            list(trainable(self.unet).values()),
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(config, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        parameters = list(trainable(self.unet).values())  # a list: an iterator would be used up by the optimizer
        limit = self.config.max_grad_norm if self.config.max_grad_norm is not None else math.inf
        self.grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = adapter_state(self.unet)  # nothing frozen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        load_adapter_state(self.unet, checkpoint["state_dict"])
        # Lightning's loops start afresh, as the loader does, which begins at this step: a restored count of batches
        # would shift the accumulation. Only the number of steps goes on.
        del checkpoint["loops"]
        steps = self.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        steps.ready = steps.completed = checkpoint["global_step"]

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> None:
        """Nothing to do: `on_load_checkpoint` has compared the names and loaded the adapter."""


def learning_rate_factor(config: TrainerConfig, step: int) -> float:
    """Share of the peak learning rate at a step. It never depends on `max_steps`, so that a run can go on."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    horizon = max(1, config.schedule_steps - config.warmup_steps)
    return SCHEDULE.make(config.schedule, config.options)(min(1.0, (step - config.warmup_steps) / horizon))
