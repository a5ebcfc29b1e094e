"""What a run will take: time, memory and disk, from counted work and one timed matrix product."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from emote.config import OBJECTIVE, Config, micro_batch, share_of_device
from emote.data.background import colour_count
from emote.data.prepared import Scan, count_uncached
from emote.diffusion.generate import BATCH as DRAWN_AT_ONCE
from emote.lora.warm_start import text_encoder_key
from emote.models.precision import Decision
from emote.training.preflight.work import Work, count_work
from emote.util.memoize import memoize

CHECKPOINTS_KEPT = 3
# What the libraries take on top of what is alive when the estimate is made: on the host, and with CUDA's on top
HOST_BYTES, CUDA_HOST_BYTES = 100 * 2**20, 2 * 2**30
SECONDS_A_IMAGE = 0.01  # to read, decode and lay out one before it is encoded
SECONDS_A_STEP = 0.01  # beside the model: noise, clipping, the optimizer, callbacks
# Python, autograd and the adapter's hooks around each operation; on a GPU that is hidden behind the arithmetic
SECONDS_A_CALL = 25e-6
SHARE_REACHED = 0.5  # of the speed of a large matrix product: most layers of a step are smaller
SHOWN = ("seconds_per_step", "seconds", "peak_memory_bytes", "disk_bytes", "flops_per_step", "basis")
MATMUL_SIDE = {"cpu": 1024, "mps": 2048, "cuda": 4096}


@dataclass(frozen=True)
class Estimate:
    """What this process will take.  steps: those that are left.  disk_bytes: of cache and run, when both are whole.

    in_training: whether the most memory is needed in training, and not to encode or to draw.
    missing_bytes: of the cache, what is not on the disk yet.
    """

    work: Work
    steps: int
    seconds_per_step: float
    seconds: dict[str, float]
    peak_memory_bytes: dict[str, int | None]
    in_training: bool
    disk_bytes: dict[str, int]
    missing_bytes: int
    flops_per_step: int
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """For summary.json, under the names that the measured values have there."""
        return {name: getattr(self, name) for name in SHOWN}


def estimate(
    config: Config, base: Path, weights: dict[str, str], decision: Decision, found: Scan, start: int
) -> Estimate:
    """Estimate from the base model's configuration files; no weight is read.

    weights: fingerprints of the base model's parts, by which cached rows are known.  start: the step the run stands at.
    """
    trainer, device, prompts = config.trainer, decision.device, config.callbacks.samples.prompts
    rows, resolution, cache_dir = micro_batch(trainer), config.data.resolution, Path(config.run.cache_dir)
    passes = share_of_device(trainer) // rows
    work = _work_once(config, base, decision.frozen)
    speed = memoize(f"speed of {device} {decision.frozen}", lambda: matmul_rate(device, decision.frozen))
    rate = SHARE_REACHED * speed
    processes = trainer.devices if device.type == "cpu" else 1  # that share what was timed
    more_flops = OBJECTIVE.told(trainer.objective, "MORE_FORWARDS", 0) * rows * work.forward_flops
    per_step = processes * passes * (seconds_of_pass(work, rate, device) + more_flops / rate) + SECONDS_A_STEP
    text_key = text_encoder_key(config.lora, weights["text_encoder"])
    missing = count_uncached(found, config.data, weights["vae"], text_key, cache_dir, prompts)
    images = {entry.content for entry in found.entries}
    captions = {entry.item.caption for entry in found.entries} | {*prompts, ""}
    variants = (2 if config.data.flip else 1) * colour_count(config.data.background)
    an_image, a_caption = 4 * 2 * variants * math.prod(work.latent_shape), 4 * math.prod(work.text_shape)
    most, resident = max(work.memory.values()), psutil.Process().memory_info().rss
    on_gpu = resident + CUDA_HOST_BYTES + work.frozen * decision.frozen.itemsize, most
    host, of_device = on_gpu if device.type == "cuda" else (resident + HOST_BYTES + most, None)
    validations = math.ceil(trainer.max_steps / config.callbacks.validation.every_steps)
    # weights and the optimizer's averages; the best ones so far; two formats of the last and the best
    adapters = CHECKPOINTS_KEPT * 3 + validations + 4
    flops = passes * int(work.step.flops + more_flops)
    return Estimate(
        work=work,
        steps=trainer.max_steps - start,
        seconds_per_step=per_step,
        seconds=_seconds(config, work, rate, per_step, len(images), (variants * missing[0], missing[1]), start),
        peak_memory_bytes={"host": host, "device": of_device},
        in_training=work.memory["train"] == most,
        disk_bytes={
            "cache": len(images) * an_image + len(captions) * a_caption,
            "run": adapters * work.trainable * 4 + 4 * len(prompts) * 3 * resolution**2,
        },
        missing_bytes=missing[0] * an_image + missing[1] * a_caption,
        flops_per_step=flops,
        basis=f"{flops / 1e12:.3g} TFLOP a step, at half the speed of a matrix product here: {rate / 1e12:.3g} TFLOP/s",
    )


def _work_once(config: Config, base: Path, dtype: torch.dtype) -> Work:
    """Count a step's work, once a process for all runs of the same shape: counting takes a second or two."""
    shape = config.data.resolution, micro_batch(config.trainer), dtype, config.trainer.gradient_checkpointing

    def count() -> Work:
        return count_work(base, config.lora, *shape)

    if config.lora.init_from:  # another file may lie there by now
        return count()
    files = [file.read_text(encoding="utf-8") for file in sorted(base.glob("*/config.json"))]
    return memoize(f"work of {base} {files} {config.lora} {shape}", count)


def seconds_of_pass(work: Work, rate: float, device: torch.device) -> float:
    """Return seconds that one micro-batch takes. rate: FLOP/s."""
    arithmetic, calls = work.step.flops / rate, work.step.calls * SECONDS_A_CALL
    return arithmetic + calls if device.type == "cpu" else max(arithmetic, calls)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that a large matrix product reaches on a device: the fastest of three, after an uncounted one."""
    size = MATMUL_SIDE[device.type]
    side = torch.empty(size, size, device=device, dtype=dtype).normal_()
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        (side @ side)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])


def _seconds(
    config: Config, work: Work, rate: float, per_step: float, images: int, missing: tuple[int, int], start: int
) -> dict[str, float]:
    """Of each phase, under the names of the measured ones. missing: images in all variants, and captions, to encode."""
    validation, samples = config.callbacks.validation, config.callbacks.samples
    steps = config.trainer.max_steps - start
    scored = min(round(images * config.data.held_out), validation.max_items or images) * validation.timesteps
    validations = 1 + math.ceil(steps / validation.every_steps)
    drawn = math.ceil(len(samples.prompts) / DRAWN_AT_ONCE) * DRAWN_AT_ONCE
    denoising = samples.inference_steps * (1 if samples.guidance_scale == 1 else 2) * work.forward_flops
    sheet = drawn * (denoising + work.decode_flops) / rate
    sheets = steps // samples.every_steps if samples.every_steps else 0
    encoding = (missing[0] * work.encode_flops + missing[1] * work.caption_flops) / rate
    found = {
        "cache": encoding + missing[0] * SECONDS_A_IMAGE,
        "train": steps * per_step + validations * scored * work.forward_flops / rate + sheets * sheet,
        "sample": 2 * sheet,  # by the base model too
    }
    return {**found, "total": sum(found.values())}
