"""What the processes beside the first one have to do with the first one's callbacks: answer when it asks all."""

from __future__ import annotations

import pytorch_lightning as pl

from emote.training.callbacks.step import StepCallback
from emote.training.module import LoraModule


class Follow(StepCallback):
    def on_measured(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        module.take_loss()  # for the row that the first one writes
