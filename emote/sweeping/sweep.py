"""A sweep from its plan to its report; the jobs are run by whatever launches them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emote.config import Config
from emote.sweeping.index import FINISHED, Entry, Index
from emote.sweeping.plan import Plan, plan
from emote.sweeping.report import say_report, write_report
from emote.training.environment import reset_peak_memory
from emote.training.listing import readable_age
from emote.training.run import run
from emote.training.say import say

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
        say(f"sweep {directory.name}: {_count(len(planned.jobs), 'job')} of {_count(len(planned.runs), 'run')}")
        if not waiting:
            say("finished already (run.fresh=true starts again)")
        else:
            done = len(planned.jobs) - waiting
            before = f"{_count(done, 'job')} finished before; " if done else ""
            say(
                f"{before}{left:,} optimizer steps to compute: "
                f"the longer jobs of a run go on from the shorter ones (all jobs, each from its start: {apart:,})"
            )
        if planned.follows_horizon:
            say(
                "note: trainer.schedule_steps differs with trainer.max_steps, so the learning rate does at every step: "
                "each step count is a run of its own and is computed in full"
            )
        return cls(planned, directory, left)

    def end(self) -> int:
        """Say what failed and what was found; returns the exit code."""
        entries = Index(self.directory).entries()
        failed = [entry for entry in entries if entry.state != FINISHED]
        begun = [job for job in self.plan.jobs if not job.finished]
        if begun:
            ours = {(job.run.name, job.step) for job in begun}
            steps = sum(e.steps_run or 0 for e in entries if (Path(e.run).name, e.step) in ours)
            say(f"\ncomputed {steps:,} optimizer steps ({self.left:,} were left to compute)")
        say_report(write_report([self.directory], self.directory))
        if failed:
            _say_failures(failed, len(entries), self.directory)
        say(str(self.directory / "report.html"))
        return 1 if failed else 0


def run_in_sweep(config: Config, words: Sequence[str], directory: Path) -> Path:
    """One job. Raises whatever ends it; the sweep's index and the job's log have it."""
    index = Index(directory)
    with index.working_on(words) as entry:
        entries = index.entries()
        say(f"\njob {entry.number} of {len(entries)}: {entry.label}{_time_left(entries)}")
        first = min(other.number for other in entries if other.run == entry.run)
        config = replace(
            config,
            run=replace(config.run, fresh=config.run.fresh and entry.number == first),
            logger=replace(config.logger, group=directory.name, run_name=entry.run_label),
        )
        reset_peak_memory()
        return run(config, list(words))


def _say_failures(failed: Sequence[Entry], jobs: int, directory: Path) -> None:
    print(f"\n{len(failed)} of {_count(jobs, 'job')} failed:", file=sys.stderr)
    width = max(len(entry.label) for entry in failed)
    for entry in failed:
        log = f"  ({directory / entry.log})" if entry.log else ""
        print(f"  {entry.label:<{width}}  {entry.error or SILENT}{log}", file=sys.stderr)
    print("the same command again runs what failed; finished jobs are not run again", file=sys.stderr)


def _time_left(entries: Sequence[Entry]) -> str:
    """By what the finished jobs took for a step, all that a job does included."""
    done = [entry for entry in entries if entry.steps_run and entry.seconds]
    if not done:
        return ""
    a_step = sum(entry.seconds or 0 for entry in done) / sum(entry.steps_run or 0 for entry in done)
    left = 0
    for entry in entries:
        before = [other.step for other in entries if other.run == entry.run and other.step < entry.step]
        left += (entry.step - max(before, default=0)) * (entry.state != FINISHED)
    return f"; about {readable_age(left * a_step)} left"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
