"""A progress bar with loss, speed and ETA; where output is no terminal, a line now and then."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from rich.progress import Progress

from emote.training.callbacks.step import StepCallback
from emote.training.module import LoraModule
from emote.util.console import console, echo
from emote.util.console import progress_bar as bar_on


def progress_bar() -> Progress:
    return bar_on(console)


class ProgressLine(StepCallback):
    LINE_EVERY_SECONDS = 30.0

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self._bar = progress_bar()
        self._loss: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._first, self._began = trainer.global_step, time.monotonic()
        self._said = self._began
        self._bar.start()
        self._task = self._bar.add_task("training", total=self.max_steps, completed=trainer.global_step, note="")

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        loss = module.row["loss"]
        self._loss = loss if self._loss is None else 0.98 * self._loss + 0.02 * loss
        now = time.monotonic()
        speed = (step - self._first) / max(now - self._began, 1e-9)
        note = f"loss {self._loss:.4f}  {speed:.2f} steps/s"
        self._bar.update(self._task, completed=step, note=note)
        if not console.is_terminal and (now - self._said > self.LINE_EVERY_SECONDS or step == self.max_steps):
            self._said = now
            left = (self.max_steps - step) / speed
            echo(f"step {step} of {self.max_steps}  {note}  eta {left:.0f} s")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.stop()
