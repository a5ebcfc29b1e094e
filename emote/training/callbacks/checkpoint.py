"""Save the state at chosen steps, at the end, and when somebody asks the process to stop."""

from __future__ import annotations

import pytorch_lightning as pl

from emote.runs.run_folder import CALLBACK, PLATEAU, RunFolder
from emote.training.callbacks.step import StepCallback, is_due
from emote.training.distributed.process_group import max_over_processes
from emote.training.module import LoraModule
from emote.util.interrupt import StopRequest


class Checkpoint(StepCallback):
    def __init__(self, folder: RunFolder, every_steps: int, max_steps: int, stop: StopRequest) -> None:
        self.folder, self.every_steps, self.max_steps, self.stop = folder, every_steps, max_steps, stop

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.stop.defer()  # after Lightning has put its own handlers in place

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        # a signal may have reached only one of the processes that train together
        self.stop.signal_number = max_over_processes(self.stop.signal_number)
        # by a callback such as EarlyStopping, or by the module at the last step, to validate there
        stopped = trainer.should_stop and step < self.max_steps
        if is_due(step, self.every_steps, self.max_steps) or self.stop.signal_number or stopped:
            trainer.save_checkpoint(self.folder.checkpoint(step), weights_only=False)
            if trainer.is_global_zero:
                self.folder.note_saved(step)
                self.folder.prune_checkpoints(newest=step)
                if stopped and not self.stop.signal_number:
                    self.folder.note_stop(step, PLATEAU if trainer.callback_metrics.get("plateau") else CALLBACK)
        if self.stop.signal_number:
            trainer.limit_val_batches = 0  # else Lightning would validate before it stops
            trainer.should_stop = True
