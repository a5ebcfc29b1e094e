"""The one training loop of all three stages: resumable, with EMA weights and randomness by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from emote.util.files import write_with

Losses = dict[str, torch.Tensor]


def generator_at(seed: int, step: int) -> torch.Generator:
    """All randomness of a step: resuming needs no stored state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def fit(
    name: str,
    model: torch.nn.Module,
    losses_at: Callable[[int, torch.Generator], Losses],
    *,
    steps: int,
    learning_rate: float,
    work: Path,
    seed: int,
    warmup_steps: int = 200,
    decay_share: float = 0.25,
    save_every_steps: int = 200,
    weight_decay: float = 0.01,
) -> dict[str, torch.Tensor]:
    """Minimise the sum of `losses_at(step, generator)` and return the EMA state dict.

    The learning rate is constant after the warm-up and falls linearly to zero over the last
    `decay_share` of `steps`. Interrupted at any moment, the same call goes on from the last save.
    """
    torch.set_flush_denormal(True)  # CPUs are many times slower on numbers near zero, which decayed moments become
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    ema = {key: value.clone() for key, value in model.state_dict().items()}
    path = work / f"{name}.ckpt"
    ema_decay = max(0.0, min(0.999, 1 - 10 / steps))  # averages over a tenth of a short stage, not over all of it
    step, seconds = 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, step, seconds = state["ema"], state["step"], state["seconds"]

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "ema": ema,
            "step": step,
            "seconds": seconds,
        }
        write_with(path, lambda temporary: torch.save(state, temporary))

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    running: dict[str, float] = {}
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[losses]}")) as progress:
        task = progress.add_task(name, total=steps, completed=step, losses="")
        while step < steps:
            began = time.perf_counter()
            rate = learning_rate * min(1.0, (step + 1) / warmup_steps, (steps - step) / (decay_share * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses = losses_at(step, generator_at(seed, step))
            torch.stack(list(losses.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            decay = min(ema_decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for key, value in model.state_dict().items():
                    if value.is_floating_point():
                        ema[key].lerp_(value, 1 - decay)
            seconds += time.perf_counter() - began
            for key, loss in losses.items():
                running[key] = 0.98 * running.get(key, loss.item()) + 0.02 * loss.item()
            progress.update(
                task, completed=step, losses=" ".join(f"{key} {value:.4f}" for key, value in running.items())
            )
            if step % save_every_steps == 0 or step == steps:
                save()
                progress.console.print(
                    f"{name} step {step}: "
                    + ", ".join(f"{key} {value:.4f}" for key, value in running.items())
                    + f" ({seconds / step:.3f} s a step)",
                    highlight=False,
                )
    return ema
