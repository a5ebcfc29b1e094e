"""Correct the preflight's time by the first real steps."""

from __future__ import annotations

from statistics import median

import pytorch_lightning as pl
import torch

from emote.config import Config
from emote.training.callbacks.step import StepCallback
from emote.training.module import LoraModule
from emote.training.preflight.check import max_hours
from emote.training.preflight.estimate import Estimate
from emote.util.console import echo
from emote.util.units import readable_seconds

STEPS = 10
NEAR = 1.5  # times longer or shorter: not worth a line


class Pace(StepCallback):
    """Comes after the metrics' callback, which measures the seconds of each step."""

    def __init__(self, config: Config, expected: Estimate) -> None:
        self.config, self.expected = config, expected
        self._seconds: list[float] = []

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        if len(self._seconds) == STEPS:
            return
        self._seconds.append(module.row["seconds"])
        if len(self._seconds) == STEPS and (line := correct(self.expected, self._seconds, self.config, module.device)):
            echo(line)


def correct(expected: Estimate, measured: list[float], config: Config, device: torch.device) -> str | None:
    """Return what to say where the first steps took much longer or shorter than expected; None where they did not.

    measured: seconds of each step; the first one, which warms up, is left out by the median.
    """
    a_step = median(measured)
    if 1 / NEAR <= a_step / expected.seconds_per_step <= NEAR:
        return None
    total = expected.seconds["total"] + expected.steps * (a_step - expected.seconds_per_step)
    limit = max_hours(config, device)
    longer = f"; that is longer than run.max_hours={limit:g} (Ctrl-C saves and stops)" if total > 3600 * limit else ""
    return (
        f"time, by the first steps: about {readable_seconds(total)}, as a step takes {readable_seconds(a_step)} "
        f"and not {readable_seconds(expected.seconds_per_step)}{longer}"
    )
