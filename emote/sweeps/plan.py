"""The jobs of a sweep in an order in which nothing is computed twice, known before the first one starts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.config import Config, DataConfig, get, schema_keys
from emote.data.prepared import Scan, scan
from emote.runs.identity import plain
from emote.runs.run_folder import RunFolder
from emote.training.identify import identify
from emote.training.run import is_delivered
from emote.util.errors import ConfigError

STEPS, HORIZON = "trainer.max_steps", "trainer.schedule_steps"


@dataclass(frozen=True)
class Job:
    """One run to one step count. words: as typed.  differs: the words that not all jobs have in common."""

    words: tuple[str, ...]
    differs: tuple[str, ...]
    config: Config
    run: Path
    finished: bool

    @property
    def step(self) -> int:
        return self.config.trainer.max_steps

    @property
    def name(self) -> str:
        """As no other job of a sweep is called."""
        return f"{self.run.name}-{self.step}"

    @property
    def label(self) -> str:
        return " ".join(self.differs) or self.config.name

    @property
    def run_label(self) -> str:
        """Of all step counts of its run."""
        return " ".join(word for word in self.differs if not word.startswith(f"{STEPS}=")) or self.config.name


@dataclass(frozen=True)
class Plan:
    """jobs: every run to its smallest step count, then every run to its next one, which goes on from there."""

    jobs: list[Job]

    @property
    def identity(self) -> str:
        """12 hex digits: which runs to which step counts, in whatever order and words they were asked for."""
        facts = sorted((job.run.name, job.step) for job in self.jobs)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]

    @property
    def directory(self) -> Path:
        names = {job.config.name for job in self.jobs}
        name = names.pop() if len(names) == 1 else "sweep"
        return Path(self.jobs[0].config.run.dir) / "sweeps" / f"{name}-{self.identity}"

    @property
    def runs(self) -> list[Path]:
        return list(dict.fromkeys(job.run for job in self.jobs))

    @property
    def follows_horizon(self) -> bool:
        """Whether jobs that differ by their step count differ by the horizon of the schedule too."""
        rest = [{k: v for k, v in values.items() if k not in (STEPS, HORIZON)} for values in self.values()]
        told = [(values.get(STEPS), values.get(HORIZON)) for values in self.values()]
        pairs = itertools.combinations(range(len(rest)), 2)
        return any(rest[i] == rest[j] and told[i][0] != told[j][0] and told[i][1] != told[j][1] for i, j in pairs)

    def values(self) -> list[dict[str, Any]]:
        """Of each job: the keys in which the jobs differ, as a run's config.yaml has them."""
        told = [{name: plain(get(job.config, name)) for name, _, _ in schema_keys()} for job in self.jobs]
        differing = [name for name in told[0] if any(values[name] != told[0][name] for values in told)]
        return [{name: values[name] for name in differing} for values in told]

    def waves(self) -> list[list[Job]]:
        """Return what is left to do. The jobs of a wave may run side by side: no two are of the same run."""
        waves: list[list[Job]] = []
        for run in self.runs:
            for number, job in enumerate(job for job in self.jobs if job.run == run and not job.finished):
                if number == len(waves):
                    waves.append([])
                waves[number].append(job)
        return waves

    def steps(self) -> tuple[int, int]:
        """Optimizer steps that are left to compute, and how many there were if each job began at the first."""
        left = 0
        for run in self.runs:
            saved = {0, *RunFolder(run).checkpoint_steps()}
            for job in (job for job in self.jobs if job.run == run and not job.finished):
                start = 0 if job.config.run.fresh else max(step for step in saved if step <= job.step)
                left += job.step - start
                saved.add(job.step)
        return left, sum(job.step for job in self.jobs)


def plan(asked: Sequence[tuple[Sequence[str], Config]]) -> Plan:
    """asked: words and configuration of each job. Raises ConfigError with what is wrong in any of them."""
    everywhere = set.intersection(*(set(words) for words, _ in asked)) if len(asked) > 1 else set()
    scans: dict[str, Scan] = {}

    def scan_once(data: DataConfig) -> Scan:
        if repr(data) not in scans:
            scans[repr(data)] = scan(data)
        return scans[repr(data)]

    jobs: list[Job] = []
    mistakes: list[str] = []
    for words, config in asked:
        try:
            folder = identify(config, scan_once).folder
            finished = not config.run.fresh and is_delivered(folder.deliverables(config.trainer.max_steps), config)
        except ConfigError as error:
            mistakes += [line for line in str(error).splitlines() if line not in mistakes]
            continue
        differs = tuple(word for word in words if word not in everywhere)
        jobs.append(Job(tuple(words), differs, config, folder.root, finished))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    _check_different(jobs)
    _check_repositories(jobs)
    # else as they were asked for
    return Plan(sorted(jobs, key=lambda job: sum(o.step < job.step for o in jobs if o.run == job.run)))


def _check_different(jobs: Sequence[Job]) -> None:
    """Two jobs would overwrite each other's deliverables, or the second would find them and do nothing."""
    first: dict[tuple[Path, int], Job] = {}
    for job in jobs:
        other = first.setdefault((job.run, job.step), job)
        if other is job:
            continue
        changed = [name for name, _, _ in schema_keys() if get(job.config, name) != get(other.config, name)]
        why = f"{', '.join(changed)} {'does' if len(changed) == 1 else 'do'} not decide what is learned"
        raise ConfigError(
            f"{other.label} and {job.label} are the same run to the same step"
            + (f": {why}; sweep over what does, or set name= as well" if changed else "; say each value once")
        )


def _check_repositories(jobs: Sequence[Job]) -> None:
    """What one run pushes to the Hub, another one would replace."""
    runs: dict[str, dict[Path, Job]] = {}
    for job in jobs:
        if job.config.hub.push and job.config.hub.repo is not None:
            runs.setdefault(job.config.hub.repo, {}).setdefault(job.run, job)
    mistakes = [
        f"hub.repo must be another one for each run, got {repo} for {len(same)} runs, the first two "
        f"{' and '.join(job.label for job in list(same.values())[:2])}; set hub.repo=null (each goes to "
        f"<you>/<name>-<identity>), or name what differs: 'hub.repo={repo}-${{lora.rank}}'"
        for repo, same in runs.items()
        if len(same) > 1
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
