"""The words of `emote evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from emote.config import Accelerator, Precision, key

SCALES = [0.25, 0.5, 0.75, 1.0, 1.25]


@dataclass
class EvaluateOptions:
    runs: list[str] = key("runs, adapter files or Hub names to compare: [a, b]; [[a:0.8, c:0.4], b] with a mix",
                          default=[])  # fmt: skip
    run: str | None = key("one of these alone; left out with runs=: the newest run", default=None)
    data: str | None = key("source of the real images (openmoji, twemoji, folder, …); left out: the run's own",
                           default=None)  # fmt: skip
    data_path: str | None = key("folder or Hub name, where data=folder or data=hub", default=None)
    judge: str | None = key("mini or sd15 (conf/evaluation); left out: that of the base model", default=None)
    prompts: int = key("how many concepts are drawn, half of them held-out ones where there are so many",
                       at_least=4, default=200)  # fmt: skip
    seeds: int = key("images of each prompt", at_least=1, default=1)
    seed: int = key("of the noise, and of which concepts are drawn", at_least=0, default=0)
    lora_scale: float = key("strength of the adapters in the table", above=0, default=1.0)
    lora_scales: list[float] = key("strengths of the curve, for the recommended one; [] for no curve", at_least=0,
                              default=SCALES)  # fmt: skip
    guidance_scales: list[float] = key("guidance of the curve, each with every strength; left out: the run's",
                                       at_least=0, default=[])  # fmt: skip
    curve_prompts: int = key("how many of the prompts the curve is drawn with", at_least=4, default=96)
    inference_steps: int = key("denoising steps", at_least=1, at_most=1000, default=20)
    few_steps: int | None = key("of adapters that draw in a few steps; left out: those that they are made for",
                                at_least=1, at_most=50, default=None)  # fmt: skip
    guidance_scale: float | None = key("of the table; left out: that of the first run's samples", at_least=0,
                                       default=None)  # fmt: skip
    output: str | None = key("folder of report.html; left out: evaluations/<runs> in runs_dir", default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    cache_dir: str = key("where drawings and hashes are kept", default=".cache/emote")
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)
    precision: Precision = key("auto (fp16 on CUDA, else float32), float32, fp16 or bf16", default=Precision.auto)
