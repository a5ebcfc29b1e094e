"""The hook that the others share: once for each optimizer step, however many micro-batches it had."""

from __future__ import annotations

import pytorch_lightning as pl

from emote.training.module import LoraModule


class StepCallback(pl.Callback):
    """Calls `on_step` after each optimizer step, and after its validation where there is one."""

    _last = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if trainer.global_step == self._last:
            return  # batch-end hooks also follow micro-batches that made no step
        self._last = trainer.global_step
        assert isinstance(pl_module, LoraModule)
        self.on_measured(trainer, pl_module, trainer.global_step)
        if not pl_module.validates_at(trainer.global_step):
            self.on_step(trainer, pl_module, trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LoraModule)
        self.on_step(trainer, pl_module, trainer.global_step)

    def on_measured(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        """Right after the step, where Lightning takes what is logged."""

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        """After all that belongs to the step."""


def is_due(step: int, every_steps: int | None, max_steps: int) -> bool:
    return step == max_steps or (every_steps is not None and step % every_steps == 0)
