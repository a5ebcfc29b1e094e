"""The LightningModule: it wires the UNet to the objective and holds no maths of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from emote.config import OBJECTIVE, OPTIMIZER, SCHEDULE, WEIGHTING, TrainerConfig
from emote.diffusion import objective
from emote.diffusion.objectives import mse
from emote.evaluation.held_out import held_out_error
from emote.lora.adapter import load_adapter_state, trainable, without_adapter
from emote.lora.adapter_file import Layer
from emote.lora.nested import Nested
from emote.models.conditioning import predict
from emote.training.distributed.process_group import mean_over_processes
from emote.training.optimizers._average import keep_average
from emote.util.errors import ConfigError

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
        self.text_layers: dict[str, Layer] = {}  # of text encoders: not trained, and delivered with the adapter
        self.nested: Nested | None = None  # ranks within the adapter that are trained too
        self.row: dict[str, float] = {}  # what callbacks measured in the current step
        self.held_out_errors: list[torch.Tensor] = []  # of the validation that runs or has run last
        self.validates_at: Callable[[int], bool] = lambda step: False
        self._losses: list[torch.Tensor] = []
        self._optimizer: torch.optim.Optimizer | None = None
        self._training_error = OBJECTIVE.make(trainer_config.objective, trainer_config.options)
        self._loss_weight = WEIGHTING.make(trainer_config.loss_weighting, trainer_config.options)
        self._swap: Any = None
        self.register_load_state_dict_post_hook(_frozen_weights_stay)

    def denoising_error(
        self,
        latents_BCHW: torch.Tensor,
        noise_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        embedding_BTD: torch.Tensor,
    ) -> torch.Tensor:
        """The squared error of the UNet's prediction, one number a sample [B], whatever is trained: as validated."""
        return mse.training_error(self._drawn(latents_BCHW, noise_BCHW, timesteps_B, embedding_BTD))

    def _drawn(
        self,
        latents_BCHW: torch.Tensor,
        noise_BCHW: torch.Tensor,
        drawn_B: torch.Tensor,
        embedding_BTD: torch.Tensor,
        uniform_B: Callable[[str], torch.Tensor] = objective.nothing_drawn,
        weights_BHW: torch.Tensor | None = None,
    ) -> objective.Drawn:
        dtype = self.unet.dtype
        size_px = (latents_BCHW.shape[2] * self.pixels_a_latent, latents_BCHW.shape[3] * self.pixels_a_latent)

        def answer(
            noisy_BCHW: torch.Tensor,
            timesteps_B: torch.Tensor | None = None,
            *,
            captioned: bool = True,
            adapted: bool = True,
        ) -> torch.Tensor:
            words_BTD = embedding_BTD if captioned else self.empty_TD.expand_as(embedding_BTD)
            asked_B = drawn_B if timesteps_B is None else timesteps_B
            with nullcontext() if adapted else without_adapter(self.unet):
                return predict(self.unet, noisy_BCHW.to(dtype), asked_B, words_BTD.to(dtype), size_px)

        return objective.Drawn(
            latents_BCHW, noise_BCHW, drawn_B, self.alphas_cumprod, self.prediction_type, answer, uniform_B, weights_BHW
        )

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = self.weighted_error(batch).mean()
        self.note_loss(loss)
        return loss

    def weighted_error(self, batch: Batch) -> torch.Tensor:
        """Return what training lowers the mean of, one number a sample [B]."""
        config, mean_BCHW = self.config, batch["mean"]
        positions_B = batch["position"].tolist()
        step = positions_B[0] // config.batch_size
        places_B = [position % config.batch_size for position in positions_B]
        if self.nested:
            self.nested.at_step(self.seed, step)
        latents_BCHW = objective.sample_posterior(mean_BCHW, batch["logvar"], self.seed, step, places_B)
        noise_BCHW = objective.noise(self.seed, step, places_B, mean_BCHW.shape[1:]).to(mean_BCHW)
        noise_BCHW = objective.offset_noise(noise_BCHW, config.noise_offset, self.seed, step, places_B)
        timesteps_B = objective.timesteps(self.seed, step, places_B, len(self.alphas_cumprod)).to(self.device)
        embedding_BTD = objective.drop_captions(
            batch["embedding"], self.empty_TD, config.caption_dropout, self.seed, step, places_B
        )
        # the adapter's dropout takes no generator: the global one is keyed to the micro-batch instead
        torch.manual_seed(objective.key_seed("dropout", self.seed, step, places_B[0]))
        background, figure_BHW = config.background_weight, batch.get("figure")
        weights_BHW = None if figure_BHW is None else background + (1 - background) * figure_BHW
        error_B = self._training_error(
            self._drawn(
                latents_BCHW, noise_BCHW, timesteps_B, embedding_BTD,
                lambda purpose: objective.uniform(purpose, self.seed, step, places_B).to(self.device), weights_BHW,
            )
        )  # fmt: skip
        return self._loss_weight(timesteps_B, self.alphas_cumprod, self.prediction_type, config) * error_B

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step == self.trainer.max_steps and self.validates_at(self.trainer.max_steps):
            self.trainer.should_stop = True  # Lightning then validates, also between two intervals

    def on_validation_epoch_start(self) -> None:
        self.held_out_errors = []
        self._swap = self.evaluation_weights()
        self._swap.__enter__()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.held_out_errors.append(held_out_error(self, batch).cpu())

    def on_validation_epoch_end(self) -> None:
        self._swap.__exit__(None, None, None)

    def log_exactly(self, row: Mapping[str, float]) -> None:
        """Log through Lightning, at the step that is done, without rounding to float32."""
        values = {**row, "step": self.trainer.global_step}
        self.log_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Within, the adapter is what is scored, drawn with and delivered: schedule-free optimizers train another."""
        optimizer: Any = self._optimizer
        if not hasattr(optimizer, "eval"):
            yield
            return
        parameters = list(trainable(self.unet).values())
        trained = [parameter.detach().clone() for parameter in parameters]
        optimizer.eval()
        try:
            yield
        finally:
            optimizer.train()
            with torch.no_grad():  # the way back rounds, and validation must not change what is learned
                for parameter, value in zip(parameters, trained, strict=True):
                    parameter.copy_(value)

    def keep_evaluation_weights(self) -> None:
        """Leave the adapter as it is delivered: nothing is trained after this."""
        optimizer: Any = self._optimizer
        if hasattr(optimizer, "eval"):
            optimizer.eval()

    def note_loss(self, loss: torch.Tensor) -> None:
        """Note the loss of a micro-batch."""
        self._losses.append(loss.detach())

    def take_loss(self) -> float:
        """Return the mean over the micro-batches of the last optimizer step, of all processes that train together."""
        mean = float(mean_over_processes(torch.stack(self._losses).mean()))
        self._losses.clear()
        return mean

    def is_finite(self) -> bool:
        """Return whether the losses of the optimizer step that is being computed are numbers."""
        return bool(torch.stack(self._losses).isfinite().all())

    def forget_losses(self) -> None:
        """Forget the losses of passes that were no part of training."""
        self._losses.clear()

    @property
    def learning_rate(self) -> float:
        """Of the last optimizer step."""
        return self.config.learning_rate * learning_rate_factor(self.config, self.trainer.global_step - 1)

    def configure_optimizers(self) -> Any:
        config = self.config
        groups = parameter_groups(trainable(self.unet), config)
        self._optimizer = optimizer = OPTIMIZER.make(config.optimizer, config.options)(groups, config)
        if config.ema_decay is not None:
            if hasattr(optimizer, "eval"):
                chosen = config.optimizer
                raise ConfigError(
                    f"trainer.ema_decay needs an optimizer that does not average, got {chosen}; set it null"
                )
            keep_average(optimizer, config.ema_decay)
        if hasattr(optimizer, "train"):
            optimizer.train()
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(config, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        parameters = list(trainable(self.unet).values())  # a list: an iterator would be used up by the optimizer
        limit = self.config.max_grad_norm if self.config.max_grad_norm is not None else math.inf
        self.grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the adapter's weights alone: nothing frozen is ever saved."""
        prefix, names = kwargs.get("prefix", ""), trainable(self.unet)
        everything = super().state_dict(*args, **kwargs)
        for name in [name for name in everything if name.startswith(prefix)]:
            if name.removeprefix(f"{prefix}unet.") not in names:
                del everything[name]
        return everything

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:
        """Put the adapter's weights back. Raises ConfigError where the names or shapes are others."""
        load_adapter_state(self.unet, {name.removeprefix("unet."): value for name, value in state_dict.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {
            name: p.detach().to("cpu", copy=True) for name, p in checkpoint["state_dict"].items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # an earlier release left out the first part of the names
        named = {f"unet.{name.removeprefix('unet.')}": value for name, value in checkpoint["state_dict"].items()}
        checkpoint["state_dict"] = named
        # Lightning's loops start afresh, as the loader does, which begins at this step: a restored count of batches
        # would shift the accumulation. Only the number of steps goes on, and what follows it: when Lightning
        # validates, and the step that it logs.
        del checkpoint["loops"]
        loop, step = self.trainer.fit_loop.epoch_loop, checkpoint["global_step"]
        steps, batches = loop.automatic_optimization.optim_progress.optimizer.step.total, loop.batch_progress.total
        steps.ready = steps.completed = loop._batches_that_stepped = step
        batches.ready = batches.completed = step * self.trainer.accumulate_grad_batches


def _frozen_weights_stay(module: torch.nn.Module, missing: Any) -> None:
    """For copies of the module that others load, as `WeightAveraging` does: what is not saved is not missed."""
    assert isinstance(module, LoraModule)
    names = trainable(module.unet)
    missing.missing_keys[:] = [name for name in missing.missing_keys if name.split("unet.", 1)[-1] in names]


def parameter_groups(parameters: Mapping[str, torch.nn.Parameter], config: TrainerConfig) -> list[dict[str, Any]]:
    """What the optimizer is given: all parameters alike, or by LoRA+ (arXiv 2402.12354) B at a rate of its own."""
    if config.lora_plus_ratio is None:
        return [{"params": list(parameters.values())}]
    ups = {name for name in parameters if ".lora_B." in name}
    return [
        {"params": [p for name, p in parameters.items() if name not in ups], "lr": config.learning_rate},
        {
            "params": [p for name, p in parameters.items() if name in ups],
            "lr": config.learning_rate * config.lora_plus_ratio,
        },
    ]


def learning_rate_factor(config: TrainerConfig, step: int) -> float:
    """Return the share of the peak learning rate at a step. It never depends on `max_steps`, so a run can go on."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    horizon = max(1, config.schedule_steps - config.warmup_steps)
    return SCHEDULE.make(config.schedule, config.options)(min(1.0, (step - config.warmup_steps) / horizon))
