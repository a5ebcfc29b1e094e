"""Time what a user waits for, as ratios from one run on one machine.

    python scripts/benchmark.py                 # the miniature
    python scripts/benchmark.py batch=8 steps=20

Prints seconds of `--help`, of a training step with cached latents and texts, and of the same step with VAE and
text encoder inside the loop, as scripts without a cache have it. Then time and memory of four ranks that train
together (`sweep.pack=true`), and of the same ranks one after the other.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emote.config import Config

RANKS = (2, 4, 8, 16)


def seconds(action: Callable[[], object], times: int) -> float:
    """Median wall-clock of an action, after one call that is not counted."""
    action()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return median(found)


def main(arguments: list[str]) -> int:
    options = {"batch": 8, "steps": 10}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in options or not value.isdigit() or int(value) < 1:
            print(f"error: say batch=<n> or steps=<n> with n at least 1, got {argument}\n\n{__doc__}", file=sys.stderr)
            return 2
        options[name] = int(value)

    helps = seconds(lambda: subprocess.run([sys.executable, ROOT / "train.py", "--help"], capture_output=True), 5)
    print(f"python train.py --help: {helps:.2f} s")

    from emote.quiet import quiet_libraries

    quiet_libraries()
    import torch

    from emote.command_line import compose_config
    from emote.model import components
    from emote.model.adapter import attach, trainable
    from emote.model.prompts import PromptEncoder
    from emote.training.module import LoraModule

    config = compose_config(["experiment=quickstart"])
    base = components.locate(config.model)
    unet, vae = components.load_unet(base), components.load_vae(base)
    encode_prompts = PromptEncoder(base)
    attach(unet, config.lora)
    batch = options["batch"]
    captions = ["An emoji of grinning face, openmoji style"] * batch
    pixels = torch.rand(batch, 3, config.data.resolution, config.data.resolution) * 2 - 1
    embedding = encode_prompts(captions)
    mean, logvar = components.encode_pictures(vae, pixels)
    rows = {"mean": mean, "logvar": logvar, "embedding": embedding, "position": torch.arange(batch)}
    module = LoraModule(unet, components.load_scheduler(base), embedding[0], config.trainer, config.seed).train()
    optimizer = torch.optim.AdamW(trainable(unet).values(), lr=1e-4)

    def step() -> None:
        module.training_step(rows, 0).backward()
        optimizer.step()
        optimizer.zero_grad()

    def encode_and_step() -> None:
        components.encode_pictures(vae, pixels)
        encode_prompts(captions)
        step()

    cached, uncached = seconds(step, options["steps"]), seconds(encode_and_step, options["steps"])
    print(f"a step of {batch}, cached: {cached:.3f} s; with VAE and text encoder in the loop: {uncached:.3f} s")
    print(f"the cache makes a step {uncached / cached:.2f} times as fast")
    print_packed(config, batch, options["steps"])
    return 0


def print_packed(config: Config, batch: int, steps: int) -> None:
    from emote.training.listing import readable_bytes
    from emote.training.packed_benchmark import measure

    costs = measure(config, RANKS, batch, steps)
    print(
        f"a step of ranks {', '.join(map(str, RANKS))}: {costs.together_s:.3f} s together, {costs.apart_s:.3f} s one "
        f"after the other: {costs.apart_s / costs.together_s:.2f} times as fast"
    )
    print(
        f"peak memory: {readable_bytes(costs.together_bytes)} together, {readable_bytes(costs.alone_bytes)} for one "
        f"alone; the base model's {readable_bytes(costs.base_bytes)} are there once"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
