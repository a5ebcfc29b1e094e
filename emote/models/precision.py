"""The one place that decides on which device a run computes and what type its frozen weights have."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emote.config import Accelerator, Precision
from emote.util.errors import ConfigError
from emote.util.places import TRAIN

NATIVE_BF16 = (8, 0)  # compute capability of Ampere, the first to have bf16 units
BF16_EMULATION_COST = 4.3  # fp16's speed over bf16's on a T4, in one published comparison
HERE_WORKS = f"here works: {TRAIN} experiment=quickstart"
DTYPES = {Precision.float32: torch.float32, Precision.fp16: torch.float16, Precision.bf16: torch.bfloat16}


@dataclass(frozen=True)
class Machine:
    """What the decision depends on; `Machine.here()` asks torch, tests make one up.

    capability: CUDA compute capability of the first GPU, None without one.  gpus: how many there are.
    """

    gpu: str | None = None
    capability: tuple[int, int] | None = None
    mps: bool = False
    gpus: int = 1

    @classmethod
    def here(cls) -> Machine:
        if torch.cuda.is_available():
            return cls(
                gpu=torch.cuda.get_device_name(0),
                capability=torch.cuda.get_device_capability(0),
                gpus=torch.cuda.device_count(),
            )
        return cls(mps=torch.backends.mps.is_available())


@dataclass(frozen=True)
class Decision:
    """frozen: dtype of the frozen weights and the arithmetic (the adapter's own is `lora.dtype`).

    reason: one line for the log.  warning: what a poor choice costs and what to say instead, where it is one.
    """

    device: torch.device
    frozen: torch.dtype
    reason: str
    warning: str | None = None


def decide(asked: Precision, accelerator: Accelerator, machine: Machine | None = None, *, devices: int = 1) -> Decision:
    """Return what to compute on and in. Raises ConfigError (two lines at most) for what cannot work on this machine.

    devices: how many of the kind are wanted; of CPUs there are as many as processes.
    """
    machine = machine or Machine.here()
    device = _device(accelerator, machine)
    there = {"cuda": machine.gpus, "mps": 1}.get(device.type, devices)
    if devices > there:
        raise ConfigError(f"trainer.devices must be at most {there}, the GPUs of this machine, got {devices}")
    warning = None
    if device.type == "cuda":
        precision, reason = _on_cuda(asked, machine)
        if precision is Precision.bf16 and emulates_bf16(machine.capability):
            warning = (
                f"{machine.gpu or 'this GPU'} only emulates bf16: about {BF16_EMULATION_COST:g} times as slow as fp16; "
                "set trainer.precision=fp16 (or hardware=t4), unless bf16 itself is what is tried"
            )
    elif device.type == "mps":
        precision, reason = _on_mps(asked)
    else:
        precision, reason = _on_cpu(asked)
    return Decision(device, DTYPES[precision], reason, warning)


def emulates_bf16(capability: tuple[int, int] | None) -> bool:
    """Whether a GPU has no bf16 units, by its compute capability (torch's `is_bf16_supported` says True for all)."""
    return capability is not None and capability < NATIVE_BF16


def _device(accelerator: Accelerator, machine: Machine) -> torch.device:
    if accelerator is Accelerator.cuda and machine.capability is None:
        raise ConfigError(
            "trainer.accelerator=cuda (hardware=t4) needs a CUDA GPU and this machine has none\n"
            f"{HERE_WORKS} (or hardware=cpu)"
        )
    if accelerator is Accelerator.mps and not machine.mps:
        raise ConfigError(
            f"trainer.accelerator=mps needs an Apple GPU and this machine has none\n{HERE_WORKS} (or hardware=cpu)"
        )
    if accelerator is not Accelerator.auto:
        return torch.device(accelerator.value)
    return torch.device("cuda" if machine.capability is not None else "mps" if machine.mps else "cpu")


def _on_cuda(asked: Precision, machine: Machine) -> tuple[Precision, str]:
    assert machine.capability is not None
    gpu = f"{machine.gpu or 'GPU'} (compute capability {machine.capability[0]}.{machine.capability[1]})"
    if asked is Precision.auto:
        if emulates_bf16(machine.capability):
            return Precision.fp16, f"fp16: {gpu} only emulates bf16"
        return Precision.bf16, f"bf16: {gpu} computes it natively"
    return asked, f"{asked.value} as asked, on {gpu}"


def _on_mps(asked: Precision) -> tuple[Precision, str]:
    if asked is Precision.auto:
        return Precision.float32, "float32: half precision gains little on an Apple GPU and may overflow"
    return asked, f"{asked.value} as asked, on an Apple GPU"


def _on_cpu(asked: Precision) -> tuple[Precision, str]:
    if asked is Precision.fp16:
        raise ConfigError(
            "trainer.precision=fp16 needs a GPU: on a CPU it is very slow and half of the operations lack it\n"
            "set trainer.precision=float32 (or hardware=cpu)"
        )
    if asked is Precision.auto:
        return Precision.float32, "float32: there is no GPU, and CPUs compute it fastest"
    return asked, f"{asked.value} as asked, on the CPU"
