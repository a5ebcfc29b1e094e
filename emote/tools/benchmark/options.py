"""The keys of `emote benchmark`."""

from __future__ import annotations

from dataclasses import dataclass

from emote.config import Accelerator, Precision, key


@dataclass
class BenchmarkConfig:
    model: str = key("sd15 (its published configuration), or a directory in diffusers' layout", default="sd15")
    arms: list[str] = key(
        "example, example_half, cached, half (what training does), unsynced, adapter_half, fused, channels_last, "
        "tuned, compiled, graph; text_apart, text_once; or fused+graph, for a rung beside another; of drawing: "
        "draw_stock (diffusers' pipeline), draw, draw_fast (4 steps with the miniature's speed adapter)",
        default=["example", "half"],
    )
    precision: Precision = key("of the arithmetic; auto: what training would choose", default=Precision.auto)
    device: Accelerator = key("on which kind", default=Accelerator.auto)
    batch_size: list[int] = key("images a step", at_least=1, default=[8])
    micro_batch: int | None = key("images in one pass; null: all at once", at_least=1, default=None)
    resolution: int = key("side in pixels", at_least=8, default=256)
    seconds: float = key("to time each arm, after its first steps", above=0, default=10.0)
    rounds: int = key("how often all arms take turns; ratios are taken within a round", at_least=1, default=1)
    counts: bool = key("count operations, casts and kernels of a step too", default=False)
    memory_gb: float | None = key("cap on a GPU's memory, as a smaller one would have", above=0, default=None)
    output: str | None = key("JSON file for the rows", default=None)
