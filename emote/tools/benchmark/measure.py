"""Build an arm, time its steps, and note what it took."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from transformers import CLIPTextConfig

from emote.config import Accelerator, AdapterDtype, Init, LoraConfig, Precision, TrainerConfig
from emote.lora.adapter import attach
from emote.models import components
from emote.models.precision import DTYPES
from emote.runs.environment import peak_memory_bytes, reset_peak_memory
from emote.tools.benchmark.arms import Arm, Rung
from emote.tools.benchmark.base import random_unet
from emote.tools.benchmark.example import ExampleStep
from emote.tools.benchmark.ours import FastStep, TodayStep
from emote.tools.benchmark.rows import Sizes

BLOCKS = 3  # in which the timed steps lie; their spread says how far the median can be trusted
WARM_UP = 3
NO_TEXT_ADAPTER = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "to_out.0", "attn2.to_q")

Step = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """seconds: of a step, the median of blocks.  spread: largest over smallest block, minus 1."""

    seconds: float
    spread: float
    steps: int
    first_seconds: float
    peak_bytes: int | None
    reserved_bytes: int | None
    losses: tuple[float, float]
    finite: bool
    skipped: int


def lora_config(targets: Any = "attention", rank: int = 4) -> LoraConfig:
    return LoraConfig(rank, float(rank), 0.0, targets, Init.gaussian, AdapterDtype.float32, 0, None, "lora", nested=[])


def trainer_config(batch: int, steps: int = 1000) -> TrainerConfig:
    """The reported run's recipe."""
    return TrainerConfig(
        max_steps=steps, batch_size=batch, optimizer="adamw", learning_rate=1e-4, lora_plus_ratio=None,
        objective="mse", loss_weighting="min_snr", schedule="constant", schedule_steps=steps,
        warmup_steps=0, betas=[0.9, 0.999], epsilon=1e-8, weight_decay=1e-2, max_grad_norm=1.0, snr_gamma=None,
        caption_dropout=0.0, precision=Precision.auto, accelerator=Accelerator.auto, devices=1, max_micro_batch=batch,
        num_workers=1, gradient_checkpointing=False, compile=False, noise_offset=0.0, background_weight=1.0,
        ema_decay=None,
    )  # fmt: skip


def sizes_of(base: Path, pixels: int) -> Sizes:
    """Of a base model's rows, by its configurations."""
    return Sizes.of(
        UNet2DConditionModel.load_config(base, subfolder="unet"),
        AutoencoderKL.load_config(base, subfolder="vae"),
        CLIPTextConfig.from_pretrained(Path(base) / "text_encoder").to_dict(),
        pixels,
    )


def build(arm: Arm, base: Path, pixels: int, device: torch.device) -> Any:
    """The arm's step, on a UNet of its own with random weights. Calling it makes a step and returns a loss."""
    torch.manual_seed(0)
    frozen = DTYPES[arm.precision] if arm.is_ours or arm.example_half else torch.float32
    unet = random_unet(base, frozen, device)
    if Rung.channels_last in arm:
        unet.to(memory_format=torch.channels_last)
    attach(unet, lora_config(list(NO_TEXT_ADAPTER) if arm.no_text_adapter else "attention"))
    unet.to(device)
    schedule: DDPMScheduler = components.load_scheduler(base)
    sizes = sizes_of(base, pixels)
    if not arm.is_ours:
        return ExampleStep(arm, base, unet.train(), schedule, sizes, device)
    kind = FastStep if Rung.unsynced in arm else TodayStep
    return kind(arm, unet, schedule, sizes, device, trainer_config(arm.batch))


@contextmanager
def settings_of(arm: Arm) -> Iterator[None]:
    """Of the libraries, within."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = Rung.tuned in arm
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def measure(arm: Arm, base: Path, pixels: int, device: torch.device, seconds: float, max_steps: int = 60) -> Timed:
    """Time steps for about so many seconds, after some that are not counted."""
    with settings_of(arm):
        reset_peak_memory()  # before the build: what a captured graph takes shows only then
        step = build(arm, base, pixels, device)
        timed = time_steps(step, device, seconds, max_steps)
        del step
    free(device)
    return timed


def time_steps(step: Any, device: torch.device, seconds: float, max_steps: int) -> Timed:
    losses: list[float] = []
    first_seconds = _seconds(step, 1, device, losses)
    once = min(_seconds(step, 1, device, losses) for _ in range(WARM_UP - 1))
    each = max(1, min(max_steps, int(seconds / max(once, 1e-6))) // BLOCKS)
    blocks = [_seconds(step, each, device, losses) / each for _ in range(BLOCKS)]
    numbers = losses[1:]  # a step that reports the loss of the one before has none at first
    return Timed(
        seconds=median(blocks),
        spread=max(blocks) / min(blocks) - 1,
        steps=each * BLOCKS,
        first_seconds=first_seconds,
        peak_bytes=peak_memory_bytes(device)["device" if device.type == "cuda" else "host"],
        reserved_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        losses=(numbers[0], numbers[-1]),
        finite=all(map(math.isfinite, numbers)),
        skipped=int(step.skipped),
    )


def free(device: torch.device) -> None:
    """Give back what an arm has left, so that the next one's memory is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def _seconds(step: Step, times: int, device: torch.device, losses: list[float]) -> float:
    _wait(device)
    began = time.perf_counter()
    for _ in range(times):
        losses.append(step())
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
