"""The one training loop of all stages: by steps or by the clock, resumable, with averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from emote.util.files import write_with

Losses = dict[str, torch.Tensor]
State = dict[str, torch.Tensor]
AVERAGES = {"ema_0.05": 0.05, "ema_0.10": 0.10}  # widths relative to the training, as in EDM2
LOG_EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Span:
    """How long a stage trains: until `steps` or `seconds` are reached, whichever comes first."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, elapsed: float) -> float:
        """In [0, 1]; 1 is the end."""
        shares = [step / self.steps] if self.steps else []
        shares += [elapsed / max(self.seconds, 1e-9)] if self.seconds is not None else []
        return min(1.0, max(shares, default=1.0))


@dataclass
class Draw:
    """All randomness of a step, on the CPU and on the device: resuming needs no stored state."""

    cpu: torch.Generator
    device: torch.Generator

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.device, device=self.device.device)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.device, device=self.device.device)

    def choice(self, weights: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(weights, count, replacement=True, generator=self.device)

    def integer(self, high: int) -> int:
        """On the CPU: it decides what is computed, and must not wait for the device."""
        return int(torch.randint(high, (1,), generator=self.cpu))


def draw_at(seed: int, step: int, device: torch.device) -> Draw:
    number = seed * 1_000_003 + step
    return Draw(torch.Generator().manual_seed(number), torch.Generator(device).manual_seed(number))


@dataclass
class Fitted:
    """What a stage leaves: averaged weights by name (and `last`), steps, samples, seconds, and the curve."""

    states: dict[str, State]
    steps: int
    samples: int
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)


def fit(
    name: str,
    model: torch.nn.Module,
    losses_at: Callable[[torch.nn.Module, int, int, Draw], Losses],
    *,
    span: Span,
    batch: int,
    learning_rate: float,
    work: Path,
    seed: int,
    dtype: torch.dtype = torch.float32,
    warmup_steps: int = 100,
    decay_share: float = 0.5,
    weight_decay: float = 0.01,
    save_every_seconds: float = 300.0,
    evaluate: Callable[[torch.nn.Module], dict[str, float]] | None = None,
    evaluate_times: int = 10,
    on_average: Callable[[State, dict[str, float]], None] | None = None,
) -> Fitted:
    """Minimise the sum of `losses_at(model, batch, step, draw)`.

    The weights are float32; where `dtype` is another, forward and backward run on a copy of that type, which is
    refreshed each step. The learning rate is constant after the warm-up and falls linearly to zero over the last
    `decay_share` of the span. Weights are averaged with EDM2's power functions (arXiv 2312.02696, eq. 127).
    Interrupted at any moment, the same call goes on from the last save. Where memory runs out, the batch is halved;
    where a loss is no number, the stage goes back to its last good weights and halves its rate.
    `evaluate` sees the first average, `evaluate_times` times and at the end; so does `on_average`.
    """
    torch.set_flush_denormal(True)  # CPUs are many times slower on numbers near zero, which decayed moments become
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
    masters: list[torch.Tensor] = list(parameters.values())
    device = masters[0].device
    fused = device.type in ("cuda", "cpu")
    optimizer = torch.optim.AdamW(masters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=fused)
    averages = {key: [p.detach().clone() for p in masters] for key in AVERAGES}
    fitted = Fitted({}, 0, 0, 0.0)
    rate_scale = 1.0
    path = work / f"{name}.ckpt"
    if path.exists():
        stored = torch.load(path, weights_only=True, map_location=device)
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        averages, batch, rate_scale = stored["averages"], stored["batch"], stored["rate_scale"]
        fitted.steps, fitted.samples, fitted.seconds = stored["steps"], stored["samples"], stored["seconds"]
        fitted.curve = stored["curve"]

    worker = model.train() if dtype == torch.float32 else to_type(copy.deepcopy(model.train()), dtype)
    workers: list[torch.Tensor] = (
        masters if worker is model else [dict(worker.named_parameters())[key] for key in parameters]
    )

    def gather() -> None:
        """Running statistics live in the copy."""
        for own, of_worker in zip(model.buffers(), worker.buffers(), strict=True):
            own.copy_(of_worker)

    def save() -> None:
        gather()
        content: dict[str, Any] = {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "averages": averages, "batch": batch,
            "rate_scale": rate_scale, "steps": fitted.steps, "samples": fitted.samples, "seconds": fitted.seconds,
            "curve": fitted.curve,
        }  # fmt: skip
        write_with(path, lambda temporary: torch.save(content, temporary))

    def state_of(values: list[torch.Tensor]) -> State:
        gather()
        return {**{k: v.clone() for k, v in model.state_dict().items()}, **dict(zip(parameters, values, strict=True))}

    def assess(progress: float) -> None:
        torch.backends.cudnn.benchmark = False  # it would try out every size that an evaluation has
        state = state_of(averages["ema_0.05"])
        row = {"step": float(fitted.steps), "samples": float(fitted.samples), "seconds": round(fitted.seconds, 1)}
        if evaluate is not None:
            probe = copy.deepcopy(model)
            probe.load_state_dict(state)
            with torch.no_grad():
                row |= evaluate(to_type(probe, dtype).eval())
        fitted.curve.append({**row, **recent})
        print(f"{name} at {progress:.0%}: " + ", ".join(f"{k} {v:.5g}" for k, v in row.items()), flush=True)
        if on_average is not None:
            on_average(state, row)
        torch.backends.cudnn.benchmark = progress < 1

    good = [p.detach().clone() for p in masters]
    torch.backends.cudnn.benchmark = True
    recent: dict[str, float] = {}
    began = saved = logged = time.perf_counter()
    earlier = fitted.seconds
    assessed = math.floor(span.progress(fitted.steps, earlier) * evaluate_times)
    while (progress := span.progress(fitted.steps, fitted.seconds)) < 1:
        rate = rate_scale * learning_rate * min(1.0, (fitted.steps + 1) / warmup_steps, (1 - progress) / decay_share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        try:
            if worker is not model:
                with torch.no_grad():
                    torch._foreach_copy_(workers, masters)
            losses = losses_at(worker, batch, fitted.steps, draw_at(seed, fitted.steps, device))
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        except torch.OutOfMemoryError:
            if batch <= 1:
                raise
            batch //= 2
            worker.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            print(f"{name}: out of memory, batch {batch} from here", flush=True)
            continue
        if worker is not model:
            for master, of_worker in zip(masters, workers, strict=True):
                master.grad = None if of_worker.grad is None else of_worker.grad.float()
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        worker.zero_grad(set_to_none=True)
        fitted.steps += 1
        fitted.samples += batch
        with torch.no_grad():
            for key, width in AVERAGES.items():
                torch._foreach_lerp_(averages[key], masters, 1 - power_decay(fitted.steps, width))
        now = time.perf_counter()
        fitted.seconds = earlier + now - began
        if now - logged > LOG_EVERY_SECONDS or fitted.steps == span.steps:
            logged = now
            recent = {key: float(loss.detach()) for key, loss in losses.items()}  # waits for the device
            print(
                f"{name} step {fitted.steps}: {', '.join(f'{k} {v:.4f}' for k, v in recent.items())} "
                f"({fitted.seconds / fitted.steps:.4f} s a step, batch {batch}, rate {rate:.2g})",
                flush=True,
            )
            if all(math.isfinite(value) for value in recent.values()):
                torch._foreach_copy_(good, [p.detach() for p in masters])
            else:
                with torch.no_grad():
                    for values in [masters, *averages.values()]:
                        torch._foreach_copy_(values, good)
                optimizer.state.clear()
                rate_scale /= 2
                print(f"{name}: not a number; back to the last good weights at {rate_scale:g} of the rate", flush=True)
        reached = span.progress(fitted.steps, fitted.seconds)
        if math.floor(reached * evaluate_times) > assessed and reached < 1:
            assessed = math.floor(reached * evaluate_times)
            assess(reached)
        if now - saved > save_every_seconds:
            saved = now
            save()
    fitted.states = {key: state_of(values) for key, values in averages.items()}
    fitted.states["last"] = state_of([p.detach().clone() for p in masters])
    assess(1.0)
    save()
    return fitted


def to_type(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """All weights but those of batch normalisation, whose running statistics need float32."""
    model.to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.float()
    return model


def power_decay(step: int, width: float) -> float:
    """The decay at `step` (from 1) of the power function average of relative width `width` (EDM2, eq. 123-127)."""
    return (1 - 1 / step) ** (power_exponent(width) + 1)


def power_exponent(width: float) -> float:
    """The positive γ with width² = (γ+1) / ((γ+2)² (γ+3)), by bisection: widths fall as γ grows."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        if (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > width**2:
            low = middle
        else:
            high = middle
    return low
