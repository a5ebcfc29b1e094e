"""TensorBoard: tensorboard --logdir runs shows losses, images and configurations of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from emote.config import LoggerConfig
from emote.training.loggers import LoggedRun, charted

PACKAGE = "tensorboard"


class TensorBoard(TensorBoardLogger):
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(charted(metrics), step)

    def log_samples(
        self, step: int, prompts: Sequence[str], seeds: Sequence[int],
        base: Sequence[Image.Image], tuned: Sequence[Image.Image],
    ) -> None:  # fmt: skip
        for prompt, before, after in zip(prompts, base, tuned, strict=True):
            both = np.concatenate([np.asarray(image.convert("RGB")) for image in (before, after)], axis=1)
            self.experiment.add_image(f"samples/{prompt}", both, step, dataformats="HWC")


def build_logger(config: LoggerConfig, run: LoggedRun) -> Any:
    """Its files go to the run's directory, a resumed run's beside those before."""
    return TensorBoard(run.root, name="tensorboard", version="", default_hp_metric=False)
