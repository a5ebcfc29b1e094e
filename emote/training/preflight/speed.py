"""How long counted work takes on a device: by the class of a GPU, or by timing a part of it here."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from emote.models.precision import BF16_EMULATION_COST, Decision, emulates_bf16
from emote.training.preflight.ledger import BACKWARD, FORWARD, Operation, Spec
from emote.training.preflight.work import Counted

# Part of a GPU's name → (half precision, float32) in TFLOP/s that a step is planned with. The T4's are what others
# measured (11 to 14 in fp16); the other ones are 40 % of the data sheet's dense figure, as nothing was measured.
GPU_TFLOPS = {
    "T4": (12, 4), "P100": (7, 4), "V100": (45, 6), "2080": (21, 5), "3060": (10, 5), "3090": (28, 14),
    "4060": (12, 6), "4070": (23, 12), "4080": (39, 20), "4090": (66, 33), "5090": (84, 42), "A4000": (30, 8),
    "A5000": (44, 11), "A6000": (62, 15), "A10": (50, 12), "A100": (125, 8), "L40": (72, 36), "L4": (24, 12),
    "H100": (390, 27), "H200": (390, 27), "GH200": (390, 27), "B200": (900, 30),
}  # fmt: skip
# Python starts the operations of a GPU one by one; a small step takes as long as that
GPU_SECONDS_A_CALL = 25e-6
# Beside the operations of a step: noise, clipping, AdamW, callbacks
SECONDS_A_STEP = 0.01
# Modules, autograd and the adapter's hooks around each operation, in Python
CPU_SECONDS_A_CALL = 30e-6
TIMING_BUDGET_SECONDS = 1.0
# An operation is called until it took this long, or this often, and its fastest call counts: where other programs share
# the processor, a single call of a millisecond can wait for ten
REPEAT_SECONDS, REPEATS = 0.02, 5
MATMUL_SIDE = 2048
# FLOP/s and bytes/s by which operations are ranked before some of them are timed
GUESSED_FLOPS, GUESSED_BYTES = 5e10, 2e9


@dataclass(frozen=True)
class Speed:
    """seconds: of the counted work, once.  basis: how that was found, for people."""

    seconds: float
    basis: str


def speed_of(work: Counted, decision: Decision) -> Speed:
    """How long `work` takes on the device of the decision, whose frozen dtype it was counted in."""
    device, name = decision.device, str(decision.frozen).removeprefix("torch.")
    if device.type == "cpu":
        seconds, share = timed_here(work.operations)
        threads = torch.get_num_threads()
        return Speed(
            seconds + work.calls * CPU_SECONDS_A_CALL,
            f"the heaviest {share:.0%} timed on this CPU ({threads} thread{'s' * (threads > 1)}, {name})",
        )
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple GPU"
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    rate, how = gpu_rate(gpu, decision.frozen, capability) or (0.5 * matmul_rate(device, decision.frozen), "half of "
        "what a matrix product reached")  # fmt: skip
    return Speed(
        max(work.flops / rate, work.calls * GPU_SECONDS_A_CALL),
        f"{rate / 1e12:.3g} TFLOP/s for {gpu} in {name}, {how}, and at least {GPU_SECONDS_A_CALL * 1e6:.0f} µs a call",
    )


def gpu_rate(name: str, dtype: torch.dtype, capability: tuple[int, int] | None) -> tuple[float, str] | None:
    """(FLOP/s to plan with, where that is from) for a GPU by its name; None for one that is not in the table."""
    words = name.upper().replace("-", " ").split()
    known = [key for key in GPU_TFLOPS if any(word == key or word.startswith(key) for word in words)]
    if not known:
        return None
    key = max(known, key=len)
    half, single = GPU_TFLOPS[key]
    if dtype is torch.float32:
        return single * 1e12, "by its class"
    if dtype is torch.bfloat16 and emulates_bf16(capability):
        return half * 1e12 / BF16_EMULATION_COST, "by its class, emulated"
    return half * 1e12, "by its class"


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product."""
    side = torch.empty(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype).normal_()
    side @ side
    _wait(device)
    began = time.perf_counter()
    side @ side
    _wait(device)
    return 2 * MATMUL_SIDE**3 / (time.perf_counter() - began)


def timed_here(operations: Counter[Operation], budget_seconds: float | None = None) -> tuple[float, float]:
    """(seconds of all, share that was timed): the heaviest are done on this CPU, the rest is in proportion.

    Heaviness is guessed from FLOPs and bytes; `share` is of that guess.
    """
    weights = {o: n * (o.flops / GUESSED_FLOPS + o.bytes / GUESSED_BYTES + 1e-6) for o, n in operations.items()}
    budget_seconds = TIMING_BUDGET_SECONDS if budget_seconds is None else budget_seconds
    seconds = guessed = 0.0
    began = time.perf_counter()
    for operation in sorted(weights, key=lambda o: -weights[o]):
        if time.perf_counter() - began > budget_seconds:
            break
        memoize = _time_once(operation)
        if memoize is not None:
            seconds += memoize * operations[operation]
            guessed += weights[operation]
    whole = sum(weights.values())
    return (seconds * whole / guessed, guessed / whole) if guessed else (whole, 0.0)


@torch.no_grad()
def _time_once(operation: Operation) -> float | None:
    """Seconds of the fastest call with other numbers, after an uncounted one; None for what cannot be done alone."""
    try:
        if operation.function in (FORWARD, BACKWARD):
            query, key = (_filled(spec) for spec in operation.arguments)
            call = _attention(query, key, operation.function == BACKWARD)
        else:
            arguments, keywords = _filled(operation.arguments), {n: _filled(v) for n, v in operation.keywords}
            keywords.pop("device", None)

            def call() -> Any:
                return operation.function(*arguments, **keywords)

        call()
        times: list[float] = []
        while len(times) < REPEATS and sum(times) < REPEAT_SECONDS:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return min(times)
    except (RuntimeError, TypeError, IndexError, ValueError):
        return None


def _attention(query: torch.Tensor, key: torch.Tensor, backward: bool) -> Any:
    if not backward:
        return lambda: F.scaled_dot_product_attention(query, key, key)
    with torch.enable_grad():
        inputs = [tensor.clone().requires_grad_() for tensor in (query, key, key)]
        out = F.scaled_dot_product_attention(inputs[0], inputs[1], inputs[2])
    gradient = torch.ones_like(out)
    return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)


def _filled(value: Any) -> Any:
    """Tensors in the place of their descriptions, of small random numbers."""
    if isinstance(value, Spec):
        if not value.dtype.is_floating_point:
            return torch.empty_strided(value.size, value.stride, dtype=value.dtype).zero_()
        return torch.empty_strided(value.size, value.stride, dtype=value.dtype).uniform_(0.1, 0.2)
    return [_filled(entry) for entry in value] if isinstance(value, tuple) else value


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
