"""Draw the same prompts and noise with the base model and each adapter, and say what one would see.

    emote evaluate run=quickstart                      # one run, against its base model
    emote evaluate runs=[quickstart,other,style.safetensors] prompts=400
    emote evaluate run=latest scales=[0.5,0.75,1,1.25] guidance_scales=[3,6]

What is measured, with what, and what it cannot see: docs/evaluation.md. Drawings are kept, so that the same words go on
where they were interrupted. The strength that is recommended is written beside each adapter, and whatever draws with
it uses that strength unless another is typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emote.config import Accelerator, Precision, key
from emote.util.errors import ConfigError

SCALES = [0.25, 0.5, 0.75, 1.0, 1.25]


@dataclass
class EvaluateOptions:
    runs: list[str] = key("runs, adapter files or Hub names to compare: [a, b]", default=[])
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
    scales: list[float] = key("strengths of the curve, for the recommended one; [] for no curve", at_least=0,
                              default=SCALES)  # fmt: skip
    guidance_scales: list[float] = key("guidance of the curve, each with every strength; left out: the run's",
                                       at_least=0, default=[])  # fmt: skip
    curve_prompts: int = key("how many of the prompts the curve is drawn with", at_least=4, default=96)
    inference_steps: int = key("denoising steps", at_least=1, at_most=1000, default=20)
    guidance_scale: float | None = key("of the table; left out: that of the first run's samples", at_least=0,
                                       default=None)  # fmt: skip
    output: str | None = key("folder of report.html; left out: evaluations/<runs> in runs_dir", default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    cache_dir: str = key("where drawings and hashes are kept", default=".cache/emote")
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)
    precision: Precision = key("auto (fp16 on CUDA, else float32), float32, fp16 or bf16", default=Precision.auto)


def evaluate(options: EvaluateOptions) -> Path:
    """Draw, measure and report; returns the page. Raises ConfigError for mistakes, before anything is drawn."""
    from emote.experiments.evaluation_plan import plan_evaluation  # late: these import torch
    from emote.experiments.evaluation_report import write_evaluation
    from emote.experiments.evaluation_run import run_evaluation
    from emote.util.console import echo
    from emote.util.quiet import quiet_libraries

    if options.runs and options.run is not None:
        raise ConfigError(f"run={options.run} says nothing beside runs=; leave one out")
    quiet_libraries()
    plan = plan_evaluation(options)
    result = run_evaluation(plan)
    page = write_evaluation(result)
    echo(str(page))
    return page


def main(options: EvaluateOptions) -> int:
    """For the command line: 0 where all went well."""
    evaluate(options)
    return 0
