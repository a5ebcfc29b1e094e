"""At chosen steps, leave a snapshot of the run to the thread that pushes it to the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import fmean

import pytorch_lightning as pl

from emote.hub.resume import keep_for_resume
from emote.hub.run_pushes import ToHub
from emote.training.artifacts import Artifacts, kohya_metadata, write_config
from emote.training.callbacks.step import StepCallback
from emote.training.job import Job
from emote.training.module import LoraModule
from emote.training.summary import summarise
from emote.util.timer import Timer


class PushToHub(StepCallback):
    """Comes after the checkpoint's callback: what goes on elsewhere goes on from there."""

    def __init__(self, job: Job, to_hub: ToHub, base_scores: list[float], started_at: int) -> None:
        """started_at: the step that this process found."""
        self.job, self.to_hub, self.base_scores, self.started_at = job, to_hub, base_scores, started_at
        self.timer = Timer()

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        every = self.to_hub.config.every_steps
        if every is None or step % every or step == self.job.max_steps:
            return  # the end pushes what is delivered
        with module.evaluation_weights():
            path = self._snapshot(module, step)
        self.to_hub.submit(path)

    def _snapshot(self, module: LoraModule, step: int) -> Path:
        """What a finished step count leaves, as far as it is there without drawing or scoring anything for it."""
        job, folder = self.job, self.job.folder
        artifacts = Artifacts(folder, step, folder.snapshot(step))
        title = f"{job.config.name}, step {step:,} of {job.max_steps:,}"
        rows = artifacts.write_metrics(fmean(self.base_scores) if self.base_scores else None, title)
        artifacts.write_last_adapter(module, job.config, job.config.name, kohya_metadata(job.config, job.prepared))
        write_config(job.config, artifacts.path / "config.yaml")
        drawn = folder.root / "samples" / f"{step:06d}.png"
        if drawn.exists():
            shutil.copy(drawn, artifacts.path / "samples.png")
        summary = summarise(job, self.to_hub.command, self.started_at, rows, None, self.timer)
        told = {"max_steps": step, "planned_steps": job.max_steps, "steps_run": step - self.started_at}
        path = artifacts.finish(summary | told)
        if self.to_hub.config.checkpoints:
            keep_for_resume(folder, step, job.name)
        return path
