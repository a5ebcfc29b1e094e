"""A sweep from its plan to its report; the jobs are run by whatever launches them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emote.config import Config
from emote.runs.damage import Damaged
from emote.runs.environment import reset_peak_memory
from emote.runs.lock import wait_for
from emote.runs.run_folder import RunFolder
from emote.sweeps.index import FINISHED, Entry, Index, output_of, reason
from emote.sweeps.plan import Job, Plan, plan
from emote.sweeps.reports.answer import next_commands
from emote.sweeps.reports.report import print_report, write_report
from emote.sweeps.to_wandb import log_report
from emote.training.distributed.process_index import find_process_index
from emote.training.run import run
from emote.util.console import echo
from emote.util.markdown import percent
from emote.util.units import readable_seconds

SILENT = "ended without a word; was its process killed?"


@dataclass(frozen=True)
class Sweep:
    """left: optimizer steps that were not computed when it began."""

    plan: Plan
    directory: Path
    left: int

    @classmethod
    def begin(cls, asked: Sequence[tuple[Sequence[str], Config]], command: str) -> Sweep:
        """Write the index down and say what is going to be computed. Raises ConfigError as `plan` does."""
        planned = plan(asked)
        directory = planned.directory
        Index(directory).write(planned, command)
        waiting = sum(not job.finished for job in planned.jobs)
        left, apart = planned.steps()
        echo(f"sweep {directory.name}: {_count(len(planned.jobs), 'job')} of {_count(len(planned.runs), 'run')}")
        if not waiting:
            echo("finished already (run.fresh=true starts again)")
        else:
            done = len(planned.jobs) - waiting
            before = f"{_count(done, 'job')} finished before; " if done else ""
            echo(
                f"{before}{left:,} optimizer steps to compute: "
                f"the longer jobs of a run go on from the shorter ones (all jobs, each from its start: {apart:,})"
            )
        if planned.follows_horizon:
            echo(
                "note: trainer.schedule_steps differs with trainer.max_steps, so the learning rate does at every step: "
                "each step count is a run of its own and is computed in full"
            )
        return cls(planned, directory, left)

    def do(self, launch: Callable[[Sequence[Job]], None]) -> None:
        """Every job that is left, those that another process was at when their turn came at the end.

        launch: does jobs of different runs, and returns when they have ended.
        """
        for wave in self.plan.waves():
            launch(wave)
        while busy := self._busy():
            for job in busy:
                wait_for(job.run)
            left = self._busy()  # the other process was killed
            for job in left:
                Index(self.directory).put_back(job.words)
            if left:
                launch(left)

    def _busy(self) -> list[Job]:
        """Of each run the job with the fewest steps that another process was at."""
        busy = {entry.name for entry in Index(self.directory).entries() if entry.is_busy}
        return list({job.run: job for job in reversed(self.plan.jobs) if job.name in busy}.values())

    def end(self) -> int:
        """Say what failed and what was found; returns the exit code."""
        entries = Index(self.directory).entries()
        failed = [entry for entry in entries if entry.state != FINISHED]
        begun = [job for job in self.plan.jobs if not job.finished]
        if begun:
            ours = {(job.run.name, job.step) for job in begun}
            steps = sum(e.steps_run or 0 for e in entries if (Path(e.run).name, e.step) in ours)
            echo(f"\ncomputed {steps:,} optimizer steps ({self.left:,} were left to compute)")
        report = write_report([self.directory], self.directory)
        print_report(report)
        log_report(report, self.plan)
        if failed:
            _print_failures(failed, len(entries), self.directory)
        for line in next_commands(report, Path(self.plan.jobs[0].config.run.dir)):
            echo(line)
        echo(str(self.directory / "report.html"))
        return 1 if failed else 0


def run_in_sweep(config: Config, words: Sequence[str], directory: Path) -> Path:
    """Do one job and return its directory. Raises whatever ends it; the sweep's index and the job's log have it."""
    if find_process_index(config).rank:  # the first of its processes keeps the index
        return run(config, list(words))
    index = Index(directory)
    if (planned := index.entry(words)).state == FINISHED:
        echo(f"job {planned.number}: {planned.label} was finished by another process meanwhile")
        return RunFolder(index.run_of(planned)).deliverables(planned.step)
    with index.working_on(words) as entry:
        echo(f"job {entry.number} of {len(index.entries())}: {entry.label}")
        reset_peak_memory()
        return run(in_sweep(config, entry, index), list(words))


def in_sweep(config: Config, entry: Entry, index: Index) -> Config:
    """As the job is run there: its run starts again once at most, and is logged as one of the sweep."""
    first = min(other.number for other in index.entries() if other.run == entry.run)
    return replace(
        config,
        run=replace(config.run, fresh=config.run.fresh and entry.number == first),
        logger=replace(config.logger, group=index.directory.name, run_name=entry.run_label),
    )


def print_end(job: Job, directory: Path, failure: Exception | None) -> None:
    """One line on how a job of this process ended."""
    index = Index(directory)
    entries = index.entries()
    entry = next(entry for entry in entries if entry.words == list(job.words))
    if failure is None:
        echo(finished_line(entry, entries, job.run))
    else:
        log = f"  ({directory / entry.log})" if entry.log else ""
        print(f"job {entry.number} of {len(entries)} failed: {reason(failure)}  ({entry.label}){log}", file=sys.stderr)


def finished_line(entry: Entry, entries: Sequence[Entry], run: Path) -> str:
    """What there is to say of a job that is finished: how long it took, its loss, and how long the rest will take."""
    took = f" in {readable_seconds(entry.seconds)}" if entry.seconds else ""
    try:
        told = RunFolder(run).summary(entry.step).get("validation_loss") or {}
    except Damaged:
        told = {}  # `emote runs` says it
    final = told.get("final")
    loss = f", held-out loss {final:.5f} ({percent(told['relative'])})" if final is not None else ""
    return f"job {entry.number} of {len(entries)} finished{took}: {entry.label}{loss}{_time_left(entries)}"


def _print_failures(failed: Sequence[Entry], jobs: int, directory: Path) -> None:
    print(f"\n{len(failed)} of {_count(jobs, 'job')} failed:", file=sys.stderr)
    width = max(len(entry.label) for entry in failed)
    for entry in failed:
        log = directory / (entry.log or output_of(entry.name))
        where = f"  ({log})" if log.exists() else ""
        print(f"  {entry.label:<{width}}  {entry.error or SILENT}{where}", file=sys.stderr)
    print("the same command again runs what failed; finished jobs are not run again", file=sys.stderr)


def _time_left(entries: Sequence[Entry]) -> str:
    """By what the finished jobs took for a step, all that a job does included."""
    done = [entry for entry in entries if entry.steps_run and entry.seconds]
    if not done or all(entry.state == FINISHED for entry in entries):
        return ""
    a_step = sum(entry.seconds or 0 for entry in done) / sum(entry.steps_run or 0 for entry in done)
    left = 0
    for entry in entries:
        before = [other.step for other in entries if other.run == entry.run and other.step < entry.step]
        left += (entry.step - max(before, default=0)) * (entry.state != FINISHED)
    return f"; about {readable_seconds(left * a_step)} left"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
