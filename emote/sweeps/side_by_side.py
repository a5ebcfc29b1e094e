"""A sweep whose jobs run in other processes, on this machine or on others."""

from __future__ import annotations

from collections.abc import Sequence

from emote.config import LAUNCHER
from emote.sweeps.index import Index
from emote.sweeps.job import write_job
from emote.sweeps.plan import Job
from emote.sweeps.sweep import Sweep
from emote.sweeps.watch import watching
from emote.util.console import echo
from emote.util.interrupt import StopRequest


def do_side_by_side(sweep: Sweep) -> None:
    """Every job that is left. Raises ConfigError where the engine refuses, Interrupted after a signal."""
    if not sweep.plan.waves():
        return
    echo(f"what each job prints is in {sweep.directory / 'logs'}")
    config = sweep.plan.jobs[0].config
    opened = LAUNCHER.make(config.launcher.engine, config.launcher.options)(config, sweep.directory)
    with StopRequest(), opened as launch, watching(Index(sweep.directory)):

        def launch_written(jobs: Sequence[Job]) -> None:
            for job in jobs:
                write_job(job, sweep.directory)
            launch([job.name for job in jobs])

        sweep.do(launch_written)
