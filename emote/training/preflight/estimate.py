"""What a run will take: time, memory and disk, from counted work and the class of the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from emote.config import Config, micro_batch, share_of_device
from emote.data.background import colour_count
from emote.data.prepared import Scan
from emote.models.precision import Decision
from emote.training.preflight.speed import SECONDS_A_STEP, Speed, speed_of
from emote.training.preflight.work import DRAWN_AT_ONCE, Work, count_work

ADAPTER_BYTES = 16  # a parameter in float32, with its gradient and AdamW's two averages
FLOAT32_BYTES = 4
CHECKPOINTS_KEPT = 3
# What the libraries take on top of what is alive when the estimate is made: on the host, and with CUDA's on top
HOST_BYTES, CUDA_HOST_BYTES = 100 * 2**20, 2 * 2**30
# Blocks that an allocator rounds up or cannot use again, and what kernels work in: added to what was counted
ALLOCATOR_SHARE = 0.05
SECONDS_A_IMAGE = 0.01  # to read, decode and lay out one before it is encoded


@dataclass(frozen=True)
class Estimate:
    """seconds and bytes of this process; steps: those that are left.

    micro_batch_bytes: of the step's peak, the part that grows with the micro-batch; 0 where another phase takes more.
    missing_bytes: of the cache, what is not on the disk yet.
    """

    steps: int
    seconds_per_step: float
    seconds: dict[str, float]
    host_bytes: int
    device_bytes: int | None
    micro_batch_bytes: int
    cache_bytes: int
    missing_bytes: int
    run_bytes: int
    flops_per_step: int
    modules: int
    trainable: int
    frozen: int
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """For summary.json, under the names that the measured values have there."""
        return {
            "seconds_per_step": self.seconds_per_step,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "peak_memory_bytes": {"host": self.host_bytes, "device": self.device_bytes},
            "disk_bytes": {"cache": self.cache_bytes, "run": self.run_bytes},
            "flops_per_step": self.flops_per_step,
            "basis": self.basis,
        }


def estimate(config: Config, base: Path, decision: Decision, found: Scan, start: int) -> Estimate:
    """From the base model's configuration files; no weight is read. start: the step that the run stands at."""
    trainer = config.trainer
    rows = micro_batch(trainer)
    passes = share_of_device(trainer) // rows
    resolution = config.data.resolution
    work = count_work(base, config.lora, resolution, rows, decision.frozen, trainer.gradient_checkpointing)
    speed = speed_of(work.step, decision)
    beside = trainer.devices if decision.device.type == "cpu" else 1  # processes that share what was timed
    per_step = passes * speed.seconds * beside + SECONDS_A_STEP
    cache_bytes = _cache_bytes(config, work, found)
    # which run the shards that lie there are of would only be known after reading them; the cache itself finds out
    missing_bytes = max(0, cache_bytes - _size(Path(config.run.cache_dir)))
    missing = missing_bytes / cache_bytes
    seconds = _seconds(config, work, speed, per_step, len(found.entries), missing, trainer.max_steps - start)
    phases = memory_by_phase(work, decision)
    phase = max(phases, key=lambda name: phases[name])
    on_host = decision.device.type != "cuda"
    resident = psutil.Process().memory_info().rss
    unet_bytes = work.frozen * decision.frozen.itemsize
    flops = passes * work.step.flops
    return Estimate(
        steps=trainer.max_steps - start,
        seconds_per_step=per_step,
        seconds=seconds,
        host_bytes=resident + HOST_BYTES + phases[phase] if on_host else resident + CUDA_HOST_BYTES + unet_bytes,
        device_bytes=None if on_host else phases[phase],
        micro_batch_bytes=work.step.peak_bytes if phase == "train" else 0,
        cache_bytes=cache_bytes,
        missing_bytes=missing_bytes,
        run_bytes=_run_bytes(config, work),
        flops_per_step=flops,
        modules=work.modules,
        trainable=work.trainable,
        frozen=work.frozen,
        basis=f"{_count(flops, 'FLOP')} in {passes * work.step.calls:,} calls a step; {speed.basis}",
    )


def memory_by_phase(work: Work, decision: Decision) -> dict[str, int]:
    """Bytes on the device that computes: of weights, and of what is alive beside them at the peak of each phase."""
    unet = work.frozen * decision.frozen.itemsize + work.trainable * ADAPTER_BYTES
    vae = work.vae_parameters * FLOAT32_BYTES
    exact = {
        "cache": max(vae + work.encode.peak_bytes, work.text_parameters * FLOAT32_BYTES),
        "train": unet + work.step.peak_bytes,
        "sample": unet + vae + work.decode.peak_bytes,
    }
    return {name: int(size * (1 + ALLOCATOR_SHARE)) for name, size in exact.items()}


def _seconds(
    config: Config, work: Work, speed: Speed, per_step: float, images: int, missing: float, steps: int
) -> dict[str, float]:
    """Of each phase, under the names of the measured ones. missing: the share of the cache that is to be made."""
    a_flop = speed.seconds / work.step.flops  # other parts of the model are taken to be as fast as the step
    wanted, samples = config.callbacks.validation, config.callbacks.samples
    scored = round(images * config.data.held_out)
    scored = min(scored, wanted.max_items or scored) * wanted.timesteps
    validations = 1 + math.ceil(steps / wanted.every_steps)
    halves = 1 if samples.guidance_scale == 1 else 2
    drawn = math.ceil(len(samples.prompts) / DRAWN_AT_ONCE) * DRAWN_AT_ONCE
    sheet = drawn * (
        samples.inference_steps * halves * work.forward_flops + work.decode_flops
    )  # fmt: skip
    on_the_way = steps // samples.every_steps if samples.every_steps else 0
    encoded = images * variants(config)
    found = {
        "cache": missing
        * (encoded * (work.encode_flops * a_flop + SECONDS_A_IMAGE) + images * work.caption_flops * a_flop),
        "train": steps * per_step + (validations * scored * work.forward_flops + on_the_way * sheet) * a_flop,
        "sample": 2 * sheet * a_flop,  # by the base model too
    }
    return {**found, "total": sum(found.values())}


def variants(config: Config) -> int:
    """In how many versions an image is cached."""
    return (2 if config.data.flip else 1) * colour_count(config.data.background)


def _cache_bytes(config: Config, work: Work, found: Scan) -> int:
    captions = {entry.item.caption for entry in found.entries} | {*config.callbacks.samples.prompts, ""}
    images = {entry.content for entry in found.entries}  # each is cached once
    latents = len(images) * variants(config) * 2 * math.prod(work.latent_shape)
    return (latents + len(captions) * math.prod(work.text_shape)) * FLOAT32_BYTES


def _run_bytes(config: Config, work: Work) -> int:
    adapter = work.trainable * FLOAT32_BYTES
    validations = math.ceil(config.trainer.max_steps / config.callbacks.validation.every_steps)
    # weights and AdamW's averages; the best ones so far; two formats of the last and the best
    adapters = CHECKPOINTS_KEPT * 3 + validations + 4
    pixels = 2 * len(config.callbacks.samples.prompts) * 3 * config.data.resolution**2
    return adapters * adapter + 2 * pixels


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*.safetensors"))


def _count(number: float, unit: str) -> str:
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number / 1e6:.3g} M{unit}"
