"""Seconds to draw: by the stock pipeline and by what draws here, same model, adapter, prompt, steps and guidance.

Times are from the words to the images on the host; CPU time, of all threads, is what others' work on the machine does
not change. An adapter of rank 8 with small random numbers stands for a trained one: what it costs does not depend on
them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from emote.config import Precision
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter, find_adapter, mixed
from emote.lora.adapter import attach, trainable
from emote.lora.formats import save_diffusers
from emote.models import components
from emote.models.presets import find_base, model_named
from emote.tools.benchmark.measure import lora_config
from emote.tools.benchmark.record import Record

DRAWING = ("draw_stock", "draw", "draw_fast")  # the first is what the others are compared with
PROMPT = "An emoji of grinning face"
STEPS, GUIDANCE, SCHEDULER = 25, 6.0, "dpm++"
SPEED = "mini-speed"
RANK = 8
SPREAD = 0.02  # of the random adapter's B

Draw = Callable[[int], float]  # so many images at once, to the seconds that the UNet took of it


def time_drawing(
    record: Record, names: list[str], model: str, pixels: int, device: torch.device, batches: list[int], rounds: int
) -> None:
    """Add a row for each arm, batch and round; arms take turns. Raises ConfigError where the model is not here."""
    with tempfile.TemporaryDirectory() as folder:
        base = find_base(model_named(model))
        adapter = _random_adapter(base.path, Path(folder))
        arms = {name: _arm(name, model, adapter, pixels, device) for name in names}
        for turn in range(rounds):
            for batch in batches:
                for name, draw in arms.items():
                    if not turn:
                        draw(batch)  # not counted
                    began, cpu_began = time.perf_counter(), time.process_time()
                    in_unet = draw(batch)
                    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
                    record.add(
                        name,
                        f"{name:<26} float32  batch {batch:<6} {seconds:9.3f} s  {seconds / batch:8.3f} s an image, "
                        f"{in_unet / batch:.3f} of it in the UNet; CPU time {cpu_seconds / batch:.3f} s an image",
                        arm=name, batch=batch, turn=turn, seconds=seconds, unet_seconds=in_unet,
                        cpu_seconds=cpu_seconds, peak_bytes=None,
                    )  # fmt: skip


def _random_adapter(base: Path, folder: Path) -> Path:
    unet = components.load_unet(base)
    lora = lora_config("attention_ff", RANK)
    attach(unet, lora)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in trainable(unet).items():
        if ".lora_B." in name:
            parameter.data.normal_(std=SPREAD, generator=generator)
    return save_diffusers(unet, folder, lora)


def _arm(name: str, model: str, adapter: Path, pixels: int, device: torch.device) -> Draw:
    if name == "draw_stock":
        return _stock(model, adapter, pixels, device)
    style = find_adapter(str(adapter), model=model_named(model))
    if name == "draw":
        return _ours(model, style, pixels, device)
    fast = mixed([(style, 1.0), (find_adapter(SPEED, model=model_named(model)), 1.0)])
    return _ours(model, fast, pixels, device)


def _stock(model: str, adapter: Path, pixels: int, device: torch.device) -> Draw:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        find_base(model_named(model)).path, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        local_files_only=True,
    ).to(device, torch.float32)  # fmt: skip
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(str(adapter.parent), weight_name=adapter.name)
    pipeline.set_progress_bar_config(disable=True)

    def draw(count: int) -> float:
        with _timed(pipeline.unet, device) as seconds:
            pipeline([PROMPT] * count, width=pixels, height=pixels, num_inference_steps=STEPS, guidance_scale=GUIDANCE)
        return sum(seconds)

    return draw


def _ours(model: str, adapter: Adapter, pixels: int, device: torch.device) -> Draw:
    image_generator = ImageGenerator(find_base(model_named(model)), device.type, Precision.float32)
    image_generator.use(adapter)
    few = adapter.few_steps
    wanted = Request(prompt=PROMPT, seed=0, width=pixels, height=pixels, inference_steps=STEPS,
                     guidance_scale=GUIDANCE, scheduler=SCHEDULER)  # fmt: skip
    if few:
        wanted = replace(wanted, **few.settings())

    def draw(count: int) -> float:
        with _timed(image_generator.unet, device) as seconds:
            image_generator.draw([replace(wanted, seed=seed) for seed in range(count)], batch=count)
        return sum(seconds)

    return draw


@contextmanager
def _timed(unet: Any, device: torch.device) -> Iterator[list[float]]:
    """Within, the seconds of each of the UNet's calls."""
    seconds: list[float] = []
    began = 0.0

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def before(*_: Any) -> None:
        nonlocal began
        began = now()

    hooks = [unet.register_forward_pre_hook(before),
             unet.register_forward_hook(lambda *_: seconds.append(now() - began))]  # fmt: skip
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
