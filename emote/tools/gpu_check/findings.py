"""What a check of a GPU measures, what must hold, and how both are written down."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from emote.config import Precision, as_text, key

GIB = 2**30
MEMORY_LIMIT_GIB = 4.5  # at batch 8, 256 px, in half precision
LIMITED_AT = (8, 256)
NOT_FUSED = "not fused"
SHOWN = ("max_steps", "batch_size", "resolution", "precision", "memory_gb")  # the words of the command


@dataclass
class CheckConfig:
    max_steps: int = key("training steps", at_least=10, default=200)
    batch_size: int = key("images a step", at_least=1, default=8)
    resolution: int = key("side in pixels", at_least=64, default=256)
    precision: Precision = key("of the frozen weights and the arithmetic", default=Precision.fp16)
    memory_gb: float = key("cap on the GPU's memory, as a smaller one would have", above=0, default=15.0)
    output: str = key("Markdown file that the result is added to", default="docs/gpu.md")


@dataclass
class Measured:
    """skipped_steps: whose gradients overflowed under loss scaling, so that the scale was halved."""

    losses: list[float]
    grad_norms: list[float]
    finite_weights: bool
    moved_share: float
    seconds_per_step: float
    peak_bytes: int | None
    reserved_bytes: int | None
    attention: str
    skipped_steps: int
    final_scale: float | None
    estimate: dict[str, Any] = field(default_factory=dict)


def findings(config: CheckConfig, measured: Measured) -> list[tuple[str, bool]]:
    """What was checked, and whether it held."""
    found = [
        (f"{len(measured.losses)} of {config.max_steps} steps with a finite loss, {measured.skipped_steps} of them "
         "skipped while the scale of the gradients was found", len(measured.losses) == config.max_steps
         and all(map(math.isfinite, measured.losses)) and measured.skipped_steps <= config.max_steps // 10),
        (f"the adapter is finite, and {measured.moved_share:.1%} of its entries moved",
         measured.finite_weights and measured.moved_share > 0.9),
        (f"attention: {measured.attention}", NOT_FUSED not in measured.attention),
    ]  # fmt: skip
    if measured.peak_bytes is not None:
        limit = (
            MEMORY_LIMIT_GIB if (config.batch_size, config.resolution) == LIMITED_AT else config.memory_gb * 1e9 / GIB
        )
        peak = measured.peak_bytes / GIB
        found.append((f"peak of memory {peak:.2f} GiB, at most {limit:.1f} GiB", peak <= limit))
    return found


def as_markdown(
    config: CheckConfig, where: str, measured: Measured, found: list[tuple[str, bool]], seconds: float
) -> str:
    """A section for docs/gpu.md. where: device and dtype."""
    from emote.runs.environment import package_versions

    def gib(size: float | None) -> str:
        return "–" if size is None else f"{size / GIB:.2f} GiB"

    packages = package_versions()
    words = " ".join(f"{name}={as_text(getattr(config, name))}" for name in SHOWN)
    rows = [
        ("seconds a step", f"{measured.seconds_per_step:.3f}", f"{measured.estimate['seconds_per_step']:.3f}"),
        ("peak of memory", gib(measured.peak_bytes), gib(measured.estimate["peak_bytes"])),
        ("reserved by the allocator", gib(measured.reserved_bytes), "–"),
    ]
    scale = "none" if measured.final_scale is None else f"{measured.final_scale:g}"
    return "\n".join(
        [
            f"## {where}, {time.strftime('%Y-%m-%d')}",
            "",
            f"`emote tools check-gpu {words}` took {seconds / 60:.1f} minutes, with torch {packages['torch']} "
            f"and diffusers {packages['diffusers']}. Stable Diffusion 1.5's UNet with random weights, frozen, an "
            f"adapter of rank 4 in float32, batch {config.batch_size}, {config.resolution} px, cached rows. Scale of "
            f"the gradients at the end: {scale}. Loss of the first and last step: {measured.losses[0]:.4f}, "
            f"{measured.losses[-1]:.4f}.",
            "",
            *(f"- {'held' if held else '**did not hold**'}: {what}" for what, held in found),
            "",
            "| | measured | estimated |",
            "| --- | --- | --- |",
            *(f"| {what} | {value} | {expected} |" for what, value, expected in rows),
            "",
            f"The estimate is from {measured.estimate['basis']}.",
            "",
        ]
    )
