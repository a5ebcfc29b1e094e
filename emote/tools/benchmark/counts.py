"""What a step consists of: operations, conversions between types with their bytes, and kernels on a GPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Counts:
    """casts: conversions of floating-point tensors.  cast_bytes: read and written by them.  kernels: None on a CPU."""

    operations: int
    casts: int
    cast_bytes: int
    kernels: int | None
    kernel_seconds: float | None
    copies_to_host: int | None
    attention: str


def _is_annotation(event: Any) -> bool:
    return bool(getattr(event, "is_user_annotation", False))


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.casts = self.cast_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.operations[name] += 1
        source = args[1] if name == "copy_" else args[0] if args else None
        if name in ("_to_copy", "copy_") and isinstance(source, torch.Tensor) and isinstance(out, torch.Tensor):
            self._note(source, out)
        if name == "_foreach_copy_":
            for target, each in zip(args[0], args[1], strict=True):
                self._note(each, target)
        return out

    def _note(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if source.dtype != target.dtype and source.is_floating_point() and target.is_floating_point():
            self.casts += 1
            self.cast_bytes += source.numel() * source.element_size() + target.numel() * target.element_size()


def count(step: Any, device: torch.device) -> Counts:
    """Of one step, after two that are not counted. A graph's operations are not seen, its kernels are."""
    step()
    step()
    with _Counting() as mode:
        step()
    kernels: int | None = None
    seconds: float | None = None
    to_host: int | None = None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            step()
            torch.cuda.synchronize(device)
        on_device = [event for event in profile.events() or [] if event.device_type == torch.autograd.DeviceType.CUDA]
        to_host = sum("DtoH" in event.name or "Device -> Host" in event.name for event in on_device)
        # ranges that the optimizer names are listed among the kernels
        ran = [e for e in on_device if not e.name.startswith(("Mem", "Optimizer.")) and not _is_annotation(e)]
        kernels = len(ran)
        seconds = sum(event.time_range.elapsed_us() for event in ran) / 1e6
    attention = {name: n for name, n in mode.operations.items() if name.startswith("_scaled_dot_product")}
    return Counts(
        sum(mode.operations.values()), mode.casts, mode.cast_bytes, kernels, seconds, to_host,
        ", ".join(f"{name} × {n}" for name, n in attention.items()),
    )  # fmt: skip
