"""Say what a run will take, and refuse what cannot be had here, with what to do instead."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from emote.config import Config, micro_batch
from emote.data.prepared import Scan
from emote.models.precision import Decision
from emote.runs.run_folder import RunFolder
from emote.training.preflight.estimate import Estimate, estimate
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.units import readable_bytes, readable_seconds

HOURS_ON_GPU, HOURS_ON_CPU = 12.0, 6.0  # where `run.max_hours` is null
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Free:
    """Bytes that can be had.  device: of a GPU's own memory, None without one.  disks: by the keys that lead there."""

    host: int
    device: int | None
    disks: dict[str, int]

    @classmethod
    def here(cls, config: Config, device: torch.device) -> Free:
        places = {"run.cache_dir": _existing(config.run.cache_dir), "run.dir": _existing(config.run.dir)}
        if len({place.stat().st_dev for place in places.values()}) == 1:
            places = {" and ".join(places): places["run.dir"]}
        return cls(
            host=min(psutil.virtual_memory().available, _cgroup_left()),
            device=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None,
            disks={keys: shutil.disk_usage(place).free for keys, place in places.items()},
        )


def preflight(
    config: Config, base: Path, weights: dict[str, str], decision: Decision, found: Scan, folder: RunFolder
) -> Estimate:
    """Say in a few lines what the rest of the run takes and on what that rests.

    Raises ConfigError, with everything that is wrong and what to do about each, where memory or disk do not suffice,
    or it takes longer than `run.max_hours`.
    """
    start = folder.latest_checkpoint(at_most=config.trainer.max_steps)
    expected = estimate(config, base, weights, decision, found, start)
    free = Free.here(config, decision.device)
    for line in lines(expected, free):
        echo(line)
    if wrong := list(refusals(expected, free, config, decision.device)):
        raise ConfigError("\n".join(wrong))
    return expected


def lines(expected: Estimate, free: Free) -> Iterator[str]:
    work, memory, missing = expected.work, expected.peak_memory_bytes, expected.missing_bytes
    yield f"trains {work.trainable:,} parameters in {work.modules} modules; {work.frozen:,} stay as they are"
    gpu = f"about {readable_bytes(memory['device'])} of the GPU, and " if memory["device"] else ""
    yield f"memory: {gpu}about {readable_bytes(memory['host'] or 0)} of the host ({readable_bytes(free.host)} free)"
    to_write = f"{readable_bytes(missing)} to be written" if missing else "all there"
    room = ", ".join(f"{readable_bytes(there)} free for {keys}" for keys, there in free.disks.items())
    cache, run = (readable_bytes(size) for size in expected.disk_bytes.values())
    yield f"disk: cache {cache} ({to_write}), run {run}; {room}"
    if expected.steps:
        encoding = f", {readable_seconds(expected.seconds['cache'])} of it to encode what is not cached"
        yield (
            f"time: about {readable_seconds(expected.seconds['total'])} for {expected.steps:,} steps of "
            f"{readable_seconds(expected.seconds_per_step)}{encoding if missing else ''}"
        )
        yield f"  from {expected.basis}; the first steps will correct it"


def refusals(expected: Estimate, free: Free, config: Config, device: torch.device) -> Iterator[str]:
    """Yield what cannot be had, each with what to do."""
    memory, trainer = expected.peak_memory_bytes, config.trainer
    smaller = ["a smaller data.resolution"]
    if expected.in_training and not trainer.gradient_checkpointing:
        smaller.insert(0, "trainer.gradient_checkpointing=true")
    if memory["device"] is not None and free.device is not None:
        # a micro-batch that fits is found by trying: refused is only what does not fit one by one
        grows = expected.work.step.peak_bytes if expected.in_training else 0
        alone = int(memory["device"] - grows * (1 - 1 / micro_batch(trainer)))
        yield from _refuse("this run", alone, "the GPU's memory", free.device, f"set {' or '.join(smaller)}")
    elif expected.in_training and micro_batch(trainer) > 1:
        smaller.insert(0, "trainer.max_micro_batch=1 (the batch stays)")
    host = (memory["host"] or 0) - psutil.Process().memory_info().rss  # a part of it is there already
    yield from _refuse("this run", host, "memory", free.host, f"close other programs, or set {' or '.join(smaller)}")
    needs = {"run.cache_dir": expected.missing_bytes, "run.dir": expected.disk_bytes["run"]}
    for keys, there in free.disks.items():
        needed = sum(needs[key] for key in keys.split(" and "))
        yield from _refuse(keys, needed, "disk", there, f"make room, or set {keys} to a larger disk")
    total, limit = expected.seconds["total"], max_hours(config, device)
    if expected.steps and total > 3600 * limit:
        yield (
            f"{expected.steps:,} steps would take about {readable_seconds(total)} on this {device.type.upper()} "
            f"({readable_seconds(expected.seconds_per_step)} a step), and run.max_hours={limit:g} allows "
            f"{readable_seconds(limit * 3600)}; set run.max_hours={int(total / 3600) + 1} or fewer trainer.max_steps, "
            f"{'use a GPU, ' if device.type == 'cpu' else ''}or try experiment=quickstart, which is small"
        )


def _refuse(what: str, needed: int, of: str, there: int, advice: str) -> Iterator[str]:
    if needed > there:
        yield f"{what}: about {readable_bytes(needed)} of {of} needed, and {readable_bytes(there)} are free; {advice}"


def max_hours(config: Config, device: torch.device) -> float:
    """Return the hours that a run may take on a device."""
    default = HOURS_ON_CPU if device.type == "cpu" else HOURS_ON_GPU
    return config.run.max_hours if config.run.max_hours is not None else default


def _existing(directory: str) -> Path:
    path = Path(directory).absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())


def _cgroup_left() -> int:
    """What a container or a job may still take (control groups, version 2); no limit elsewhere."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        reclaimable = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return 2**62 if limit == "max" else int(limit) - used + int(reclaimable.get("inactive_file", 0))
    except (OSError, ValueError):
        return 2**62
