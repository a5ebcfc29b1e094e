"""Watch what is learned: losses, gradient norm, entries that rounding keeps from moving. To metrics.csv and loggers."""

from __future__ import annotations

import math
import time

import pytorch_lightning as pl
import torch

from emote.lora.adapter import trainable
from emote.runs.environment import peak_memory_bytes
from emote.runs.metrics_file import MetricsFile
from emote.training.callbacks.step import StepCallback
from emote.training.module import LoraModule
from emote.util.console import echo

STUCK_EVERY_STEPS = 50
STUCK_ALARM = 0.5
GRADIENT_ALARM, SCALED_ALARM = 3, 30  # steps in a row


class Metrics(StepCallback):
    def __init__(self, file: MetricsFile, last_step: int) -> None:
        """last_step: rows up to it are in the file already (a shorter run is computed again beside a longer one)."""
        self.file = file
        self.last_step = last_step
        self._before: dict[str, torch.Tensor] = {}
        self._began = time.perf_counter()
        self._warned = False
        self._not_finite = 0  # gradient norms in a row

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._began = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, LoraModule)
        pl_module.row = {}
        if (trainer.global_step + 1) % STUCK_EVERY_STEPS == 0:
            self._before = {name: p.detach().clone() for name, p in trainable(pl_module.unet).items()}

    def on_measured(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        row = module.row
        row["step"] = step
        row["loss"] = module.take_loss()
        row["grad_norm"] = module.grad_norm
        row["learning_rate"] = module.learning_rate
        if self._before:
            row["stuck_share"] = stuck_share(self._before, trainable(module.unet))
            self._before = {}
        row["seconds"] = time.perf_counter() - self._began
        self._warn(row)
        self._warn_of_gradients(row["grad_norm"], scaled=trainer.precision == "16-mixed")
        peaks = peak_memory_bytes(module.device)
        memory = {f"{where}_peak_bytes": float(peak) for where, peak in peaks.items() if peak is not None}
        module.log_exactly(row | memory | {"images_per_second": module.config.batch_size / row["seconds"]})

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        if step > self.last_step:
            self.file.append(module.row)
        elif "validation_loss" in module.row:
            self.file.add_validation(step, module.row["validation_loss"])
        self._began = time.perf_counter()

    def _warn(self, row: dict[str, float]) -> None:
        if self._warned:
            return
        if row.get("stuck_share", 0.0) > STUCK_ALARM:
            echo(
                f"warning: {row['stuck_share']:.0%} of the adapter's entries did not move in this step: updates are "
                "smaller than their rounding. Say lora.dtype=float32, or a higher learning rate."
            )
            self._warned = True
        if not math.isfinite(row["loss"]):
            echo("warning: the loss is not finite. Say trainer.precision=float32, or a lower learning rate.")
            self._warned = True

    def _warn_of_gradients(self, grad_norm: float, scaled: bool) -> None:
        """scaled: whether the loss is, whose scale is found by trying."""
        self._not_finite = 0 if math.isfinite(grad_norm) else self._not_finite + 1
        if self._not_finite == (SCALED_ALARM if scaled else GRADIENT_ALARM):
            echo(
                f"warning: the gradient was not finite in {self._not_finite} steps in a row: nothing is learned. Set a "
                "smaller lora.alpha, a lower trainer.learning_rate, or trainer.precision=float32."
            )


def stuck_share(before: dict[str, torch.Tensor], after: dict[str, torch.nn.Parameter]) -> float:
    """Return the share of the entries that are equal before and after an update."""
    same = sum(int((before[name] == after[name].detach()).sum()) for name in before)
    return same / sum(p.numel() for p in before.values())
