"""Draw the fixed prompts on the way."""

from __future__ import annotations

import pytorch_lightning as pl

from emote.runs.run_folder import RunFolder
from emote.training.callbacks.step import StepCallback
from emote.training.loggers import log_samples
from emote.training.module import LoraModule
from emote.training.samples import Sampler
from emote.util.console import echo


class Samples(StepCallback):
    def __init__(self, sampler: Sampler, folder: RunFolder, every_steps: int | None, max_steps: int) -> None:
        self.sampler, self.folder = sampler, folder
        self.every_steps, self.max_steps = every_steps, max_steps

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        if self.every_steps is None or step % self.every_steps or step == self.max_steps:
            return  # the end has its own sheet
        path = self.folder.root / "samples" / f"{step:06d}.png"
        if path.exists() or not self.sampler.config.prompts:
            return
        base, tuned = self.sampler.write_sheet(path, module, f"step {step}")
        echo(f"step {step}: samples in {path}")
        log_samples(trainer.loggers, step, self.sampler.config.prompts, self.sampler.seeds, base, tuned)
