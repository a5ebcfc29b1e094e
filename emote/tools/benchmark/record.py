"""Rows of a benchmark: printed at once, and in a file that is whole after each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from emote.runs.environment import device_name, package_versions
from emote.tools.benchmark.arms import Arm
from emote.tools.benchmark.counts import Counts
from emote.tools.benchmark.measure import Timed
from emote.util.files import write_json

GIB = 2**30


class Record:
    """path: JSON, or None for rows that are only printed.  until: monotonic time after which nothing is begun."""

    def __init__(self, path: Path | None, device: torch.device, until: float | None = None) -> None:
        self.path, self.until, self.began = path, until, time.monotonic()
        self.rows: list[dict[str, Any]] = []
        self.about = {"device": device_name(device), "threads": torch.get_num_threads(), "packages": package_versions()}

    def seconds_left(self) -> float:
        return float("inf") if self.until is None else self.until - time.monotonic()

    def add(self, name: str, line: str, **values: Any) -> None:
        """line: what is printed of it."""
        self.rows.append({"row": name, **values, "at": round(time.monotonic() - self.began, 1)})
        print(line, flush=True)
        if self.path:
            write_json(self.path, {**self.about, "rows": self.rows})

    def attempt(self, name: str, act: Callable[[], None], needs: float = 0.0) -> bool:
        """Do what adds rows; an error or too little time (seconds) is a row too. Returns whether it was done."""
        if self.seconds_left() < needs:
            self.add(name, f"{name}: left out, {self.seconds_left():.0f} s are left", left_out=True)
            return False
        try:
            act()
        except Exception as error:  # whatever it is, the other rows stand
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            self.add(name, f"{name}: failed, {reason}", error=reason)
            return False
        return True


def add_timed(record: Record, arm: Arm, timed: Timed, name: str | None = None, **more: Any) -> None:
    """name: the row's, where the arm's does not say it."""
    peak = "" if timed.peak_bytes is None else f"  peak {timed.peak_bytes / GIB:6.2f} GiB"
    size = f"{arm.batch}" if arm.micro_batch == arm.batch else f"{arm.batch // arm.micro_batch} × {arm.micro_batch}"
    record.add(
        name or arm.name,
        f"{name or arm.name:<26} {arm.precision.value:<8} batch {size:<6} {timed.seconds * 1e3:9.2f} ms ±"
        f"{timed.spread:4.0%}  {arm.batch / timed.seconds:8.1f} images/s{peak}"
        f"{'' if timed.finite else '  NOT FINITE'}{f'  skipped {timed.skipped}' if timed.skipped else ''}",
        arm=arm.name, precision=arm.precision.value, batch=arm.batch, micro_batch=arm.micro_batch,
        rungs=sorted(rung.name for rung in arm.rungs), images_per_second=arm.batch / timed.seconds,
        **asdict(timed), **more,
    )  # fmt: skip


def add_counts(record: Record, arm: Arm, counts: Counts) -> None:
    kernels = "" if counts.kernels is None else (
        f", {counts.kernels} kernels of {(counts.kernel_seconds or 0) * 1e3:.2f} ms, {counts.copies_to_host} copies "
        "to the host"
    )  # fmt: skip
    record.add(
        "counts",
        f"counts of {arm.name} {arm.precision.value} batch {arm.batch}: {counts.operations} operations, "
        f"{counts.casts} casts of {counts.cast_bytes / 1e9:.2f} GB{kernels}; {counts.attention}",
        arm=arm.name, precision=arm.precision.value, batch=arm.batch, **asdict(counts),
    )  # fmt: skip
