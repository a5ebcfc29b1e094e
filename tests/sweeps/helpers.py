"""A sweep of seconds, ways to disturb it, and what it left."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

ADAPTER = "pytorch_lora_weights.safetensors"


class Disturb(pl.Callback):
    """After a step of the adapter of a rank: raise, or send this process a signal; as long as a file says which."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if not self.file.exists():
            return
        what, rank, step = self.file.read_text().split()
        own = next(p.shape[0] for name, p in pl_module.named_parameters() if "lora_A" in name)
        if own == int(rank) and trainer.global_step == int(step):
            if what == "raise":
                raise RuntimeError("as it was asked\nand more")
            os.kill(os.getpid(), getattr(signal, what))


def adapters(runs: Path) -> dict[str, str]:
    """Of each finished step count below a directory of runs: a hash of its adapter."""
    return {
        str(file.parent.relative_to(runs)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(runs.glob(f"*/steps/[0-9]*/{ADAPTER}"))
    }


def sweep_of(runs: Path) -> Path:
    (directory,) = (runs / "sweeps").iterdir()
    return directory
