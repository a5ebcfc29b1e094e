"""Tell when the held-out loss shows no further gain: a flag that Lightning's own EarlyStopping watches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from emote.evaluation.held_out import HeldOut
from emote.evaluation.plateau import is_plateau
from emote.training.module import LoraModule
from emote.util.files import write_json

FLAG = "plateau"
NEVER = 10**9  # validations of patience: a count that a checkpoint restores would end a continued run at once


class Plateau(pl.Callback):
    """Logs 1 where none of the last validations shows a gain, else 0; comes after `Validation`, which scores.

    Only validations at multiples of every_steps count, so that a run that once ended between two of them stops where a
    longer one does.
    """

    def __init__(
        self, held_out: HeldOut, losses_file: Callable[[int], Path], every_steps: int, validations: int, writes: bool
    ) -> None:
        self.held_out, self.losses_file, self.every_steps = held_out, losses_file, every_steps
        self.validations, self.writes = validations, writes
        self.history: dict[int, list[float]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for step in range(self.every_steps, trainer.global_step + 1, self.every_steps):
            file = self.losses_file(step)
            if file.is_file():
                self.history[step] = json.loads(file.read_text(encoding="utf-8"))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LoraModule)
        step, reached = trainer.global_step, False
        if step % self.every_steps == 0:
            self.history[step] = self.held_out.scored[step]
            if self.writes:
                write_json(self.losses_file(step), self.history[step])
            concepts = [example.concept for example in self.held_out.examples]
            reached = is_plateau([self.history[s] for s in sorted(self.history)], concepts, self.validations)
        pl_module.log_exactly({FLAG: float(reached)})


def stop_at_plateau() -> EarlyStopping:
    return EarlyStopping(
        monitor=FLAG, mode="max", stopping_threshold=0.5, patience=NEVER, check_on_train_epoch_end=False, verbose=False
    )
