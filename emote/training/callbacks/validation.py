"""Score the held-out examples at chosen steps, and keep the adapter that was best so far."""

from __future__ import annotations

from statistics import fmean

import pytorch_lightning as pl
from safetensors.torch import save_file

from emote.evaluation.held_out import HeldOut
from emote.lora.adapter import adapter_state
from emote.runs.run_folder import RunFolder
from emote.training.callbacks.step import StepCallback, is_due
from emote.training.module import LoraModule
from emote.util.console import echo
from emote.util.files import write_with


class Validation(StepCallback):
    """Puts `validation_loss` into the step's row."""

    def __init__(self, held_out: HeldOut, folder: RunFolder, every_steps: int, max_steps: int, best: float) -> None:
        """best: the lowest held-out loss before the first step of this process."""
        self.held_out, self.folder = held_out, folder
        self.every_steps, self.max_steps = every_steps, max_steps
        self.best = best

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        if not is_due(step, self.every_steps, self.max_steps):
            return
        self.held_out.scored[step] = self.held_out.score(module)
        loss = fmean(self.held_out.scored[step])
        module.row["validation_loss"] = loss
        if loss < self.best:
            self.best = loss
            state = adapter_state(module.unet)
            write_with(self.folder.best_adapter(step), lambda path: save_file(state, path))
        echo(f"step {step}: held-out loss {loss:.5f}" + (" (best so far)" if loss == self.best else ""))
