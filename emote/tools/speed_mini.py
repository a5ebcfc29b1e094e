"""Train the miniature's speed adapter, and write what is committed of it: half-precision weights, a sheet, a card."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emote.config import key
from emote.inference.request import Request
from emote.inference.resolve_adapter import ADAPTER_FILE, CONFIG_FILE, Adapter, find_adapter
from emote.runs.damage import read_settings, read_state
from emote.util.files import write_text

if TYPE_CHECKING:
    from PIL import Image

STEPS = (1, 2, 4, 8)
GUIDANCE, BASE_STEPS = 5.0, 25
CARD = """\
---
license: cc-by-4.0
library_name: diffusers
tags: [lora, lcm, emoji, miniature]
---

# The miniature's speed adapter

A LoRA of rank {rank} ({parameters:,} numbers, float16, {size_mb:.1f} MB) with which the miniature draws in
{fewest} to {most} steps
without guidance what it else draws in {base_steps} with it, alone or beside a style adapter. One step is not enough:

    emote generate run=mini-speed "prompts=[a fairy]"
    emote generate "run=[quickstart:1, mini-speed:1]" "prompts=[a fairy]"

![the same prompts and noise in 1 to 8 steps, and by the base model](sheet.png)

Latent consistency distillation (arXiv 2310.04378, 2311.05556) of the miniature, which stays frozen, by
`emote tools speed-mini`{words}: {steps:,} steps of {batch} on the latents of {source}'s images, guidance from
{guidance_from:g} to {guidance_to:g}, learning rate {learning_rate:g}. `config.yaml` says all of it. A step took
{seconds:.1f} s (median) on {device}, beside other work.

CC BY 4.0, because Twemoji (Twitter, Inc and other contributors, artwork CC BY 4.0) taught the miniature and says here
where noise is put; see [the miniature's card](../mini/README.md).
"""


@dataclass
class SpeedOptions:
    train: list[str] = key("words of emote train beside experiment=speed, such as trainer.max_steps=3000", default=[])
    output: str = key("where the adapter is written", default="weights/mini-speed")
    run: str | None = key("a finished run to write, without training", default=None)
    runs_dir: str = key("where runs are kept", default="runs")


def make(options: SpeedOptions) -> int:
    """Train (or go on), then write the adapter's folder, all of it or nothing. Raises ConfigError."""
    run = options.run
    if run is None:
        from emote.cli.train import main

        code = main(["experiment=speed", f"run.dir={options.runs_dir}", *options.train])
        if code:
            return code
        run = "latest"
    adapter = find_adapter(run, Path(options.runs_dir))
    publish(adapter, Path(options.output), options.train)
    print(options.output)
    return 0


def publish(adapter: Adapter, output: Path, words: list[str]) -> None:
    """Write the adapter in half precision, its configuration, a sheet and the card."""
    import torch

    from emote.lora.formats import write_diffusers
    from emote.lora.resize import cast

    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    file = write_diffusers(cast(adapter.load(), torch.float16), temporary / ADAPTER_FILE)
    shutil.copyfile(adapter.file.parent / CONFIG_FILE, temporary / CONFIG_FILE)
    draw_sheet(find_adapter(str(temporary))).quantize(256).save(temporary / "sheet.png", optimize=True)
    write_text(temporary / "README.md", card(adapter, file, words))
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)


def draw_sheet(adapter: Adapter) -> Image.Image:
    """Return the run's prompts in few steps with the adapter and in many without, from the same noise."""
    from emote.imaging.sheet import variants_sheet
    from emote.inference.image_generator import ImageGenerator
    from emote.models.presets import find_base

    few = adapter.few_steps
    assert few is not None
    image_generator = ImageGenerator(find_base(adapter.base))
    wanted = [Request(prompt=prompt, seed=seed, width=adapter.resolution, height=adapter.resolution,
                      guidance_scale=GUIDANCE, inference_steps=BASE_STEPS, lora_scale=0.0)
              for seed, prompt in enumerate(adapter.prompts)]  # fmt: skip
    image_generator.use(adapter)
    columns = [image_generator.draw([
        replace(one, lora_scale=1.0, **few.settings(steps)) for one in wanted
    ]) for steps in STEPS]  # fmt: skip
    names = [f"{steps} step{'s' if steps > 1 else ''}" for steps in STEPS]
    return variants_sheet(
        [*columns, image_generator.draw(wanted)],
        [*names, f"base, {BASE_STEPS} steps"],
        [one.prompt for one in wanted],
        [one.seed for one in wanted],
        f"the miniature's speed adapter, no guidance · the base model, guidance {GUIDANCE:g}",
        columns=2,
        cell=adapter.resolution,
    )


def card(adapter: Adapter, file: Path, words: list[str]) -> str:
    """Return README.md, from the run's own summary and configuration."""
    from emote.lora.adapter_file import open_adapter

    step = adapter.file.parent
    config, summary = read_settings(step / CONFIG_FILE), read_state(step / "summary.json")
    trainer, options = config["trainer"], config["trainer"]["options"]["lcm"]
    shapes = open_adapter(file).header.shapes.values()
    parameters = sum(math.prod(shape) for _, shape in shapes)
    return CARD.format(
        rank=config["lora"]["rank"], parameters=parameters, size_mb=file.stat().st_size / 1e6, fewest=STEPS[1],
        most=STEPS[-1], base_steps=BASE_STEPS, words=f" train=[{', '.join(words)}]" if words else "",
        steps=summary["max_steps"], batch=trainer["batch_size"], source=str(config["data"]["source"]).title(),
        guidance_from=options["guidance_from"], guidance_to=options["guidance_to"],
        learning_rate=trainer["learning_rate"], device=summary["device"], seconds=summary["seconds_per_step"],
    )  # fmt: skip
