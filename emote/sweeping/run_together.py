"""A pack of a sweep's jobs, as `run_in_sweep` does one job."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from emote.sweeping.index import Index
from emote.sweeping.plan import Job
from emote.sweeping.sweep import in_sweep, say_jobs
from emote.training.environment import reset_peak_memory
from emote.training.packed import Part, run_together


def run_pack(jobs: Sequence[Job], directory: Path) -> None:
    """Raises the first failure when all have come to their ends; the index and the logs have every one."""
    index, began = Index(directory), time.monotonic()
    begun = [index.begin(job.words) for job in jobs]
    say_jobs(begun, index.entries())
    reset_peak_memory()
    parts = [
        Part(in_sweep(job.config, entry, index), ["-m", *job.words], entry.run_label)  # alone it would be refused
        for job, entry in zip(jobs, begun, strict=True)
    ]
    stopped: BaseException | None = None
    try:
        run_together(parts)
    except BaseException as error:
        stopped = error
    share_s = (time.monotonic() - began) / len(parts)
    failures = []
    for entry, part in zip(begun, parts, strict=True):
        try:
            if not isinstance(part.outcome, Path):
                raise part.outcome or stopped or RuntimeError("it came to no end")
            index.finish(entry, share_s)
        except BaseException as error:
            index.fail(entry, error)
            failures.append(error)
    if stopped:
        raise stopped
    for failure in failures[1:]:  # the first one is shown as that of a job alone is
        traceback.print_exception(failure)
    if failures:
        raise failures[0]
