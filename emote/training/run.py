"""A run from its configuration to its deliverables: identify, encode, train or go on, deliver.

Nothing here computes a gradient: the loss is in `module.py` (wiring) and `emote/diffusion/objective.py` (maths).
"""

from __future__ import annotations

import json
from pathlib import Path

from emote.config import Config
from emote.hub.resume import fetch_run, keep_for_resume
from emote.hub.run_pushes import ToHub, start_pushes
from emote.runs.environment import device_name, git_revision
from emote.runs.identity import deliverable_key
from emote.runs.lock import run_lock
from emote.runs.run_folder import ASIDE, RunFolder
from emote.training.artifacts import write_artifacts
from emote.training.distributed.process_group import ProcessGroup
from emote.training.distributed.process_index import find_process_index
from emote.training.distributed.worker import run_worker
from emote.training.fit import base_scores, fit
from emote.training.identify import identify
from emote.training.job import build_job, encode_data
from emote.training.loggers import LoggedRun, build_loggers, finish, log_config, log_delivery
from emote.training.micro_batch import fit_micro_batch
from emote.training.numerics import check_numerics
from emote.training.preflight.check import preflight
from emote.util.console import echo, log_to, show_warnings
from emote.util.interrupt import Interrupted, StopRequest
from emote.util.quiet import quiet_libraries
from emote.util.timer import Timer

__all__ = ["Interrupted", "is_delivered", "run"]


def run(config: Config, command: list[str]) -> Path:
    """Do what the configuration says, from wherever it stands, and return the directory of the deliverables.

    command: the words of the command line, for the record. Where torchrun or Slurm started several processes, those
    beside the first one only help it to train.
    Raises ConfigError for a user's mistake, Interrupted after a signal (what was done is saved).
    """
    quiet_libraries()
    show_warnings()
    process_group = ProcessGroup.of(find_process_index(config))
    if process_group.process_index.rank:
        return run_worker(process_group) or Path(config.run.dir)
    with StopRequest() as stop:
        try:
            return _run(config, command, stop, process_group)
        finally:
            process_group.call(None)
            log_to(None)


def _run(config: Config, command: list[str], stop: StopRequest, process_group: ProcessGroup) -> Path:
    timer = Timer()
    to_hub = start_pushes(config, command)
    this = identify(config)
    decision, base, found, folder, name = this.decision, this.base, this.found, this.folder, this.name
    step = config.trainer.max_steps
    with run_lock(folder.root):
        if config.run.fresh:
            set_aside(folder)
        if is_delivered(folder.deliverables(step), config):
            return print_finished(name, folder.deliverables(step), to_hub)
        folder.root.mkdir(parents=True, exist_ok=True)
        log_to(folder.log)
        if config.resume_from is not None:
            fetch_run(config, folder, name)
        echo(f"run {name}: {len(found.entries)} images, {step} steps, on {device_name(decision.device)}")
        echo(f"precision: {decision.reason}")
        if decision.warning:
            echo(f"warning: {decision.warning}")
        estimate = preflight(config, base, decision, found, folder)
        if to_hub:
            to_hub.begin(folder.root)
        with timer.phase("cache"):
            prepared = encode_data(config, base, this.weights, found, decision)
        job = build_job(config, name, folder, base, this.weights, decision, prepared, estimate)
        if decision.device.type == "cuda":
            job.config = fit_micro_batch(job)
        job.mixed = check_numerics(job.config, decision, folder)
        started_at = folder.latest_checkpoint(at_most=step)
        loggers = build_loggers(config.logger, LoggedRun(folder.root, name, job.identity))
        try:
            log_config(loggers, config)
            with timer.phase("train"):
                before = base_scores(job)
                with process_group.training(job.config, name, started_at) as process_index:
                    fit(job, before, stop, loggers, to_hub, process_index)
            echo(f"trained to step {step}; writing what it leaves")
            path = write_artifacts(job, before, command, started_at, timer)
            log_delivery(loggers, config, name, path)
        finally:
            finish(loggers)
        if to_hub:
            _push(to_hub, folder, step)
        folder.prune_checkpoints(newest=step)
        return path


def _push(to_hub: ToHub, folder: RunFolder, step: int) -> None:
    if to_hub.config.checkpoints:
        keep_for_resume(folder, step, folder.root.name)
    to_hub.submit(folder.deliverables(step))
    to_hub.finish()
    echo(str(folder.deliverables(step)))  # the last line, as ever


def set_aside(folder: RunFolder) -> None:
    if folder.root.exists():
        count = 1
        while (aside := folder.root.with_name(f"{folder.name}{ASIDE}{count}")).exists():
            count += 1
        folder.root.rename(aside)
        echo(f"starting again; the run so far is kept in {aside}")


def is_delivered(path: Path, config: Config) -> bool:
    """Whether a directory of deliverables is whole, and shows what this configuration wants shown."""
    folder, step = RunFolder(path.parent.parent), int(path.name)
    return folder.is_delivered(step) and folder.summary(step)["deliverable_key"] == deliverable_key(config)


def print_finished(name: str, path: Path, to_hub: ToHub | None) -> Path:
    then, now = json.loads((path / "summary.json").read_text())["git_revision"], git_revision()
    if then != now:
        echo(f"note: it was made by revision {then}, the code is now at {now}")
    echo(f"finished already: step {int(path.name)} of {name} (run.fresh=true starts again)")
    echo(str(path))
    if to_hub:
        to_hub.begin(path.parent.parent)
        _push(to_hub, RunFolder(path.parent.parent), int(path.name))
    return path
