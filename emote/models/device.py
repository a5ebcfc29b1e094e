"""On which device images are drawn, and with which precision the UNet computes."""

from __future__ import annotations

import torch

from emote.config import Accelerator, Precision
from emote.models.precision import Machine
from emote.util.errors import ConfigError


def choose(device: Accelerator, precision: Precision, machine: Machine | None = None) -> tuple[torch.device, Precision]:
    """Choose half precision on CUDA, float32 elsewhere, unless something else is asked for.

    fp16 rather than bf16: nothing here can overflow that training had to scale, and its steps are eight times finer.
    Raises ConfigError for what this machine cannot do.
    """
    machine = machine or Machine.here()
    there = {Accelerator.cuda: machine.capability is not None, Accelerator.mps: machine.mps, Accelerator.cpu: True}
    if device is Accelerator.auto:
        device = next(kind for kind, found in there.items() if found)
    if not there[device]:
        kind = "a CUDA" if device is Accelerator.cuda else "an Apple"
        raise ConfigError(f"device={device.name} needs {kind} GPU and this machine has none; set device=cpu")
    if precision is Precision.auto:
        precision = Precision.fp16 if device is Accelerator.cuda else Precision.float32
    if precision is Precision.fp16 and device is Accelerator.cpu:
        raise ConfigError("precision=fp16 needs a GPU: CPUs compute it slowly or not at all; set precision=float32")
    return torch.device(device.value), precision
