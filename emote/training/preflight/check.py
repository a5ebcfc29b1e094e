"""Say what a run will take, and refuse what cannot be had here, with what to do instead."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from emote.config import Config, micro_batch, share_of_device
from emote.data.prepared import Scan
from emote.models.precision import Decision
from emote.runs.listing import readable_bytes
from emote.runs.run_folder import RunFolder
from emote.training.preflight.estimate import Estimate, estimate
from emote.training.preflight.work import check_start
from emote.util.console import echo
from emote.util.errors import ConfigError

HOURS_ON_GPU, HOURS_ON_CPU = 12.0, 6.0  # where `run.max_hours` is null
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Free:
    """Bytes that can be had. device: of a GPU's own memory, None without one."""

    host: int
    device: int | None
    cache_disk: int
    run_disk: int
    same_disk: bool

    @classmethod
    def here(cls, config: Config, device: torch.device) -> Free:
        cache, run = _existing(Path(config.run.cache_dir)), _existing(Path(config.run.dir))
        return cls(
            host=min(psutil.virtual_memory().available, _cgroup_left()),
            device=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None,
            cache_disk=shutil.disk_usage(cache).free,
            run_disk=shutil.disk_usage(run).free,
            same_disk=cache.stat().st_dev == run.stat().st_dev,
        )


def preflight(config: Config, base: Path, decision: Decision, found: Scan, folder: RunFolder) -> Estimate:
    """Say in a few lines what the rest of the run takes and on what that rests.

    Raises ConfigError, with everything that is wrong and what to do about each, where memory or disk do not suffice,
    or it takes longer than `run.max_hours`.
    """
    check_start(base, config.lora)
    told = estimate(config, base, decision, found, folder.latest_checkpoint(at_most=config.trainer.max_steps))
    free = Free.here(config, decision.device)
    for line in lines(told, free):
        echo(line)
    if wrong := list(refusals(told, free, config, decision)):
        raise ConfigError("\n".join(wrong))
    return told


def lines(told: Estimate, free: Free) -> Iterator[str]:
    yield f"trains {told.trainable:,} parameters in {told.modules} modules; {told.frozen:,} stay as they are"
    on_device = "" if told.device_bytes is None or free.device is None else (
        f"about {readable_bytes(told.device_bytes)} of the GPU's {readable_bytes(free.device)}, and "
    )  # fmt: skip
    yield f"memory: {on_device}about {readable_bytes(told.host_bytes)} of the host ({readable_bytes(free.host)} free)"
    disk = f"{readable_bytes(free.cache_disk)} free"
    if not free.same_disk:
        disk += f" there, {readable_bytes(free.run_disk)} where the run goes"
    to_write = f"{readable_bytes(told.missing_bytes)} to be written" if told.missing_bytes else "all there"
    missing = f" ({to_write})" if told.missing_bytes < told.cache_bytes else ""
    yield f"disk: cache {readable_bytes(told.cache_bytes)}{missing}, run {readable_bytes(told.run_bytes)}; {disk}"
    if told.steps:
        encoding = told.seconds["cache"]
        of_it = f", {readable_seconds(encoding)} of it to encode what is not cached" if told.missing_bytes else ""
        yield (
            f"time: about {readable_seconds(told.seconds['total'])} for {told.steps:,} steps of "
            f"{readable_seconds(told.seconds_per_step)}{of_it}"
        )
        yield f"  from {told.basis}"


def refusals(told: Estimate, free: Free, config: Config, decision: Decision) -> Iterator[str]:
    """What cannot be had, each with what to do."""
    yield from _memory_refusals(told, free, config)
    yield from _disk_refusals(told, free, config)
    yield from _time_refusals(told, config, decision)


def _memory_refusals(told: Estimate, free: Free, config: Config) -> Iterator[str]:
    resident = psutil.Process().memory_info().rss  # a part of the estimate that is there already
    if told.device_bytes is None or free.device is None:
        needed, there, where = told.host_bytes - resident, free.host, "of memory"
    else:
        if told.host_bytes - resident > free.host:
            yield (
                f"this run needs about {readable_bytes(told.host_bytes - resident)} of the host's memory to load its "
                f"base model, and {readable_bytes(free.host)} are free; close other programs"
            )
        # the probe finds the largest micro-batch that fits: refused is only what does not fit one by one
        needed, there, where = told.device_bytes, free.device, "of the GPU's memory"
        needed -= told.micro_batch_bytes * (1 - 1 / micro_batch(config.trainer))
    if needed <= there:
        return
    said = f"this run needs about {readable_bytes(needed)} {where}, and {readable_bytes(there)} are free; "
    smaller = _micro_batch_that_fits(needed - there, told, config) if told.device_bytes is None else None
    if smaller:
        yield f"{said}set trainer.max_micro_batch={smaller} (the batch stays), or close other programs"
    elif told.micro_batch_bytes and not config.trainer.gradient_checkpointing:
        yield f"{said}set trainer.gradient_checkpointing=true, or a smaller data.resolution"
    else:
        yield f"{said}use a smaller data.resolution, or use a machine with more"


def _micro_batch_that_fits(too_much: float, told: Estimate, config: Config) -> int | None:
    share, now = share_of_device(config.trainer), micro_batch(config.trainer)
    for size in range(now - 1, 0, -1):
        if share % size == 0 and told.micro_batch_bytes * (1 - size / now) >= too_much:
            return size
    return None


def _disk_refusals(told: Estimate, free: Free, config: Config) -> Iterator[str]:
    missing = told.missing_bytes
    if free.same_disk and missing + told.run_bytes > free.cache_disk:
        yield (
            f"cache and run need about {readable_bytes(missing + told.run_bytes)} of disk, and "
            f"{readable_bytes(free.cache_disk)} are free; make room, or set run.cache_dir=… and run.dir=… on a larger "
            "disk"
        )
    elif not free.same_disk:
        for name, needed, there in (
            ("run.cache_dir", missing, free.cache_disk), ("run.dir", told.run_bytes, free.run_disk),
        ):  # fmt: skip
            if needed > there:
                yield (
                    f"{name} needs about {readable_bytes(needed)} of disk, and {readable_bytes(there)} are free there; "
                    f"make room, or set {name}=<a larger disk>"
                )


def _time_refusals(told: Estimate, config: Config, decision: Decision) -> Iterator[str]:
    default = HOURS_ON_CPU if decision.device.type == "cpu" else HOURS_ON_GPU
    limit = config.run.max_hours if config.run.max_hours is not None else default
    hours = told.seconds["total"] / 3600
    if hours <= limit or not told.steps:
        return
    rest = told.seconds["total"] - told.seconds["train"]
    fits = int((limit * 3600 - rest) / (told.seconds["train"] / told.steps))
    allowed = f"run.max_hours={limit:g}" + ("" if config.run.max_hours is not None else ", the default here,")
    fewer = f", trainer.max_steps={config.trainer.max_steps - told.steps + fits}" if fits > 0 else ""
    gpu = ", a GPU" if decision.device.type == "cpu" else ""
    yield (
        f"{told.steps:,} steps would take about {readable_seconds(told.seconds['total'])} on this "
        f"{'CPU' if decision.device.type == 'cpu' else 'GPU'} ({readable_seconds(told.seconds_per_step)} a step), and "
        f"{allowed} allows {readable_seconds(limit * 3600)}; set run.max_hours={int(hours) + 1}{fewer}{gpu}, or "
        "experiment=quickstart for the miniature"
    )


def print_comparison(told: Estimate, seconds_per_step: float, peak: dict[str, int | None]) -> None:
    """One line at the end, where something took twice or half of what was said."""
    where = "host" if peak["device"] is None else "device"
    pairs = (
        ("a step", told.seconds_per_step, seconds_per_step, readable_seconds),
        (f"memory of the {where}", told.as_dict()["peak_memory_bytes"][where], peak[where], readable_bytes),
    )
    for what, expected, measured, readable in pairs:
        if measured and not 0.5 <= measured / expected <= 2:
            echo(f"note: {what} was estimated at {readable(expected)} and measured at {readable(measured)}")


def readable_seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    for limit, size, unit in ((120, 1, "s"), (5400, 60, "min"), (36000, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "hours" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:,.0f} hours"


def _existing(path: Path) -> Path:
    """The directory, or the nearest one above it that exists."""
    path = path.expanduser().absolute()
    return path if path.is_dir() else _existing(path.parent)


def _cgroup_left() -> int:
    """What a container or a job may still take (control groups, version 2); no limit elsewhere."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        reclaimable = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return 2**62 if limit == "max" else int(limit) - used + int(reclaimable.get("inactive_file", 0))
    except (OSError, ValueError):
        return 2**62
