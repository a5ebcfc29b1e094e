"""The benchmark of a training step, as `emote benchmark` runs it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from emote.models.precision import DTYPES, Decision, decide
from emote.models.single_file import PUBLISHED
from emote.runs.environment import cap_gpu_memory
from emote.tools.benchmark.arms import Arm, arm, names
from emote.tools.benchmark.counts import count
from emote.tools.benchmark.drawing import DRAWING, time_drawing
from emote.tools.benchmark.measure import build, free, measure, settings_of
from emote.tools.benchmark.options import BenchmarkConfig
from emote.tools.benchmark.record import Record, add_counts, add_timed
from emote.util.errors import ConfigError
from emote.util.hints import nearest
from emote.util.quiet import quiet_libraries


def benchmark(config: BenchmarkConfig) -> int:
    """Time all arms, print a row for each, and each one's share of the first one's time and memory; 1 if one failed.

    Raises ConfigError for unknown arms and bases, and for sizes that do not divide.
    """
    quiet_libraries()
    decision = decide(config.precision, config.device)
    drawing = [name for name in DRAWING if name in config.arms]
    config.arms = [name for name in config.arms if name not in DRAWING]
    arms = _arms(config, decision)
    base = _base(config.model) if arms else Path()
    device = decision.device
    if config.memory_gb is not None and device.type == "cuda":
        cap_gpu_memory(config.memory_gb)
    record = Record(Path(config.output) if config.output else None, device)
    print(f"{record.about['device']}, torch {torch.__version__}, {config.model} at {config.resolution} px")
    done = True
    for turn in range(config.rounds):
        for each in arms:
            done &= record.attempt(
                each.name,
                partial(time_arm, record, each, base, config.resolution, device, config.seconds, turn=turn),
            )
            if config.counts and not turn:
                done &= record.attempt("counts", partial(count_arm, record, each, base, config.resolution, device))
    if drawing:
        act = partial(time_drawing, record, drawing, config.model, config.resolution, device, config.batch_size,
                      config.rounds)  # fmt: skip
        done &= record.attempt("drawing", act)
    for line in shares(record.rows):
        print(line)
    return 0 if done else 1


def time_arm(
    record: Record, each: Arm, base: Path, pixels: int, device: torch.device, seconds: float, **more: Any
) -> None:
    """Add the row of an arm."""
    add_timed(record, each, measure(each, base, pixels, device, seconds), **more)


def count_arm(record: Record, each: Arm, base: Path, pixels: int, device: torch.device) -> None:
    """Add the row of what a step of an arm consists of."""
    with settings_of(each):
        step = build(each, base, pixels, device)
        counts = count(step, device)
        del step
    free(device)
    add_counts(record, each, counts)


def shares(rows: list[dict[str, Any]]) -> list[str]:
    """Time and memory of each arm as a share of the first one's, at the same batch, within a round."""
    timed = [row for row in rows if "seconds" in row]
    lines = []
    for batch in dict.fromkeys(row["batch"] for row in timed):
        here = [row for row in timed if row["batch"] == batch]
        first = here[0]["arm"]
        base = {row["turn"]: row for row in here if row["arm"] == first}
        for name in dict.fromkeys(row["arm"] for row in here):
            pairs = [(row, base[row["turn"]]) for row in here if row["arm"] == name and row["turn"] in base]
            ratios = sorted(row["seconds"] / other["seconds"] for row, other in pairs)
            memory = [row["peak_bytes"] / other["peak_bytes"] for row, other in pairs if row["peak_bytes"]]
            between = f" ({ratios[0]:.3f} to {ratios[-1]:.3f})" if len(ratios) > 1 else ""
            said = f", {median(memory):.2f} of its memory" if memory else ""
            lines.append(f"batch {batch}: {name} takes {median(ratios):.3f}{between} of the time of {first}{said}")
    return lines


def _arms(config: BenchmarkConfig, decision: Decision) -> list[Arm]:
    precision = next(name for name, dtype in DTYPES.items() if dtype is decision.frozen)
    found = []
    for batch in config.batch_size:
        if batch % (config.micro_batch or batch):
            raise ConfigError(f"micro_batch must divide batch_size, got {config.micro_batch} and {batch}")
        for name in config.arms:
            try:
                found.append(arm(name, precision, batch, config.micro_batch))
            except KeyError:
                close = nearest(name, [*names(), *DRAWING])
                hint = f"did you mean {close}?" if close else f"there are {', '.join([*names(), *DRAWING])}"
                raise ConfigError(f"arms has {name}, which is none; {hint}") from None
    return found


def _base(name: str) -> Path:
    base = PUBLISHED / "sd15" if name == "sd15" else Path(name)
    if not (base / "unet" / "config.json").is_file():
        raise ConfigError(f"model must be sd15 or a directory in diffusers' layout; {base} has no unet/config.json")
    return base
