"""What follows from the held-out losses that Lightning's validation loop computes: the mean, and the best adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytorch_lightning as pl
import torch
from safetensors.torch import save

from emote.config import METRIC
from emote.evaluation.held_out import HeldOut
from emote.lora.adapter import adapter_state
from emote.training.callbacks.step import StepCallback
from emote.training.module import LoraModule
from emote.util.console import echo
from emote.util.files import sealed, write_bytes


class Validation(StepCallback):
    """Puts `validation_loss` into the step's row, and logs it through Lightning, where EarlyStopping finds it."""

    def __init__(
        self, held_out: HeldOut, metrics: list[str], best_adapter: Callable[[int], Path] | None, best: float
    ) -> None:
        """best_adapter: where that of a step is kept; None in processes that write nothing.

        best: the lowest held-out loss before the first step of this process.
        """
        self.held_out, self.best_adapter, self.best = held_out, best_adapter, best
        self.metrics = {name: METRIC.make(name) for name in metrics}
        self._scored: dict[str, torch.Tensor] = {}

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        assert isinstance(pl_module, LoraModule)
        if batch_idx == 0 and self.best_adapter:
            # now: an averaging callback puts others in their place until validation ends
            self._scored = adapter_state(pl_module.unet)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LoraModule)
        losses = self.held_out.means(pl_module.held_out_errors)
        self.held_out.scored[trainer.global_step] = losses
        by_level = self.held_out.by_level(pl_module.held_out_errors)
        row = {f"validation_{name}": measure(by_level) for name, measure in self.metrics.items()}
        pl_module.row["validation_loss"] = row["validation_loss"] = fmean(losses)
        pl_module.log_exactly(row)

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        if "validation_loss" not in module.row or not self.best_adapter:
            return
        loss = module.row["validation_loss"]
        if loss < self.best:
            self.best = loss
            write_bytes(self.best_adapter(step), sealed(save(self._scored)))
        echo(f"step {step}: held-out loss {loss:.5f}" + (" (best so far)" if loss == self.best else ""))
