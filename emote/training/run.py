"""A run from its configuration to its deliverables: identify, encode, train or go on, deliver.

Nothing here computes a gradient: the loss is in `module.py` (wiring) and `emote/diffusion/objective.py` (maths).
"""

from __future__ import annotations

import json
from pathlib import Path

from emote.config import Config
from emote.hub.resume import go_on_from, keep_for_going_on
from emote.hub.run_pushes import ToHub, start_pushes
from emote.runs.environment import device_name, git_revision
from emote.runs.identity import deliverable_key
from emote.runs.lock import only_one
from emote.runs.run_folder import RunFolder
from emote.training.artifacts import deliver
from emote.training.distributed.process_group import Team
from emote.training.distributed.process_index import place_of
from emote.training.distributed.worker import help_out
from emote.training.fit import base_scores, fit
from emote.training.identify import identify
from emote.training.job import build_job, encode_data
from emote.training.loggers import build_loggers, finish, log_config, log_delivery
from emote.training.micro_batch import fit_micro_batch
from emote.training.numerics import check_arithmetic
from emote.training.preflight.check import preflight
from emote.util.console import log_to, say, say_warnings
from emote.util.interrupt import Interrupted, StopRequest
from emote.util.quiet import quiet_libraries
from emote.util.timer import Clock

__all__ = ["Interrupted", "is_delivered", "run"]


def run(config: Config, command: list[str]) -> Path:
    """Do what the configuration says, from wherever it stands, and return the directory of the deliverables.

    command: the words of the command line, for the record. Where torchrun or Slurm started several processes, those
    beside the first one only help it to train.
    Raises ConfigError for a user's mistake, Interrupted after a signal (what was done is saved).
    """
    quiet_libraries()
    say_warnings()
    team = Team.of(place_of(config))
    if team.place.rank:
        return help_out(team) or Path(config.run.dir)
    with StopRequest() as stop:
        try:
            return _run(config, command, stop, team)
        finally:
            team.call(None)
            log_to(None)


def _run(config: Config, command: list[str], stop: StopRequest, team: Team) -> Path:
    clock = Clock()
    to_hub = start_pushes(config, command)
    this = identify(config)
    decision, base, found, folder, name = this.decision, this.base, this.found, this.folder, this.name
    step = config.trainer.max_steps
    with only_one(folder.root):
        if config.run.fresh:
            set_aside(folder)
        if is_delivered(folder.deliverables(step), config):
            return say_finished(name, folder.deliverables(step), to_hub)
        folder.root.mkdir(parents=True, exist_ok=True)
        log_to(folder.log)
        if config.resume_from is not None:
            go_on_from(config, folder, name)
        say(f"run {name}: {len(found.entries)} pictures, {step} steps, on {device_name(decision.device)}")
        say(f"precision: {decision.reason}")
        if decision.warning:
            say(f"warning: {decision.warning}")
        estimate = preflight(config, base, decision, found, folder)
        if to_hub:
            to_hub.begin(folder.root)
        with clock.phase("cache"):
            prepared = encode_data(config, base, this.weights, found, decision)
        job = build_job(config, name, folder, base, this.weights, decision, prepared, estimate)
        if decision.device.type == "cuda":
            job.config = fit_micro_batch(job)
        job.mixed = check_arithmetic(job.config, decision, folder)
        started_at = folder.latest_checkpoint(at_most=step)
        loggers = build_loggers(config.logger, folder.root, name, job.identity)
        try:
            log_config(loggers, config)
            with clock.phase("train"):
                before = base_scores(job)
                with team.training(job.config, name, started_at) as place:
                    fit(job, before, stop, loggers, to_hub, place)
            say(f"trained to step {step}; writing what it leaves")
            path = deliver(job, before, command, started_at, clock)
            log_delivery(loggers, config, name, path)
        finally:
            finish(loggers, folder.root)
        if to_hub:
            _push(to_hub, folder, step)
        folder.prune_checkpoints(newest=step)
        return path


def _push(to_hub: ToHub, folder: RunFolder, step: int) -> None:
    if to_hub.config.checkpoints:
        keep_for_going_on(folder, step, folder.root.name)
    to_hub.submit(folder.deliverables(step))
    to_hub.finish()
    say(str(folder.deliverables(step)))  # the last line, as ever


def set_aside(folder: RunFolder) -> None:
    if folder.root.exists():
        count = 1
        while (aside := folder.root.with_name(f"{folder.root.name}.old{count}")).exists():
            count += 1
        folder.root.rename(aside)
        say(f"starting again; the run so far is kept in {aside}")


def is_delivered(path: Path, config: Config) -> bool:
    """Whether a directory of deliverables is whole, and shows what this configuration wants shown."""
    summary = path / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["deliverable_key"] == deliverable_key(config)


def say_finished(name: str, path: Path, to_hub: ToHub | None) -> Path:
    then, now = json.loads((path / "summary.json").read_text())["git_revision"], git_revision()
    if then != now:
        say(f"note: it was made by revision {then}, the code is now at {now}")
    say(f"finished already: step {int(path.name)} of {name} (run.fresh=true starts again)")
    say(str(path))
    if to_hub:
        to_hub.begin(path.parent.parent)
        _push(to_hub, RunFolder(path.parent.parent), int(path.name))
    return path
