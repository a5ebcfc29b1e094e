"""A run from its configuration to its deliverables: identify, encode, train or go on, deliver.

Nothing here computes a gradient: the loss is in `module.py` (wiring) and `emote/model/objective.py` (maths).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from emote.config import Config, ConfigError, DataConfig
from emote.data.prepared import Scan, scan
from emote.model import components
from emote.model.precision import Decision, decide
from emote.model.start import start_key
from emote.quiet import quiet_libraries
from emote.training.arithmetic import check_arithmetic
from emote.training.clock import Clock
from emote.training.deliver import deliver
from emote.training.elsewhere import go_on_from, keep_for_going_on
from emote.training.environment import device_name, git_revision
from emote.training.fit import base_scores, fit
from emote.training.identity import deliverable_key, identity
from emote.training.interrupt import Interrupted, StopRequest
from emote.training.job import build_job, encode_data
from emote.training.loggers import build_loggers, finish, log_config, log_delivery
from emote.training.micro_batch import fit_micro_batch
from emote.training.only_one import only_one
from emote.training.preflight.check import preflight
from emote.training.run_folder import RunFolder
from emote.training.say import log_to, say, say_warnings
from emote.training.to_hub import ToHub, start_pushes

__all__ = ["Interrupted", "identify", "is_delivered", "run"]


@dataclass(frozen=True)
class Identified:
    """A run as it is known before a weight is loaded.

    base: the base model.  found: its pictures.  weights: fingerprints of what the adapter rests on.
    """

    decision: Decision
    base: Path
    found: Scan
    weights: dict[str, str]
    folder: RunFolder

    @property
    def name(self) -> str:
        return self.folder.root.name


def identify(config: Config, scan: Callable[[DataConfig], Scan] = scan) -> Identified:
    """Which run this is, and where it is kept; nothing is written there.

    scan: as `emote.data.prepared.scan`. Raises ConfigError for what can be told without loading: places that cannot be
    written to, a device that is not there, a base model or pictures that cannot be read.
    """
    _check_writable(config)
    decision, base = _hardware_and_model(config)
    found = scan(config.data)
    weights = {
        part: components.fingerprint(base, part, variant=config.model.variant, cache_dir=Path(config.run.cache_dir))
        for part in ("unet", "vae", "text_encoder")
    } | start_key(config.lora)
    name = f"{config.name}-{identity(config, found.identity, weights)}"
    return Identified(decision, base, found, weights, RunFolder(Path(config.run.dir) / name))


def run(config: Config, command: list[str]) -> Path:
    """Do what the configuration says, from wherever it stands, and return the directory of the deliverables.

    command: the words of the command line, for the record.
    Raises ConfigError for a user's mistake, Interrupted after a signal (what was done is saved).
    """
    quiet_libraries()
    say_warnings()
    with StopRequest() as stop:
        try:
            return _run(config, command, stop)
        finally:
            log_to(None)


def _run(config: Config, command: list[str], stop: StopRequest) -> Path:
    clock = Clock()
    to_hub = start_pushes(config, command)
    this = identify(config)
    decision, base, found, folder, name = this.decision, this.base, this.found, this.folder, this.name
    step = config.trainer.max_steps
    with only_one(folder.root):
        if config.run.fresh:
            _set_aside(folder)
        if is_delivered(folder.deliverables(step), config):
            return _say_finished(name, folder.deliverables(step), to_hub)
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
        job = build_job(config, name, folder, base, decision, prepared, estimate)
        if decision.device.type == "cuda":
            job.config = fit_micro_batch(job)
        job.mixed = check_arithmetic(job.config, decision, folder)
        started_at = folder.latest_checkpoint(at_most=step)
        loggers = build_loggers(config.logger, folder.root, name, job.identity)
        try:
            log_config(loggers, config)
            with clock.phase("train"):
                before = base_scores(job)
                fit(job, before, stop, loggers, to_hub)
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


def _hardware_and_model(config: Config) -> tuple[Decision, Path]:
    """Both are looked at before either is complained about."""
    if config.trainer.devices != 1:
        raise ConfigError(f"trainer.devices must be 1 (several are not supported yet), got {config.trainer.devices}")
    complaints: list[str] = []
    found: list[Any] = []
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: decide(config.trainer.precision, config.trainer.accelerator),
        lambda: components.locate(config.model),
    )
    for attempt in attempts:
        try:
            found.append(attempt())
        except ConfigError as error:
            complaints += [line for line in str(error).splitlines() if line not in complaints]
    if complaints:
        advice = [line for line in complaints if line.startswith("here works:")]
        raise ConfigError("\n".join([*(line for line in complaints if line not in advice), *advice[:1]]))
    return found[0], found[1]


def _check_writable(config: Config) -> None:
    """Before anything is loaded: a run of hours must not find out at its first checkpoint."""
    problems = []
    for key, directory in (("run.dir", config.run.dir), ("run.cache_dir", config.run.cache_dir)):
        wanted = Path(directory).absolute()
        there = next(path for path in (wanted, *wanted.parents) if path.exists())
        try:
            with TemporaryFile(dir=there):  # nothing is made yet: a run may still be refused
                pass
        except OSError as error:
            problems.append(f"{key} must be a directory that can be written to, got {directory} ({error.strerror})")
    if problems:
        raise ConfigError("\n".join(problems))


def _set_aside(folder: RunFolder) -> None:
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


def _say_finished(name: str, path: Path, to_hub: ToHub | None) -> Path:
    then, now = json.loads((path / "summary.json").read_text())["git_revision"], git_revision()
    if then != now:
        say(f"note: it was made by revision {then}, the code is now at {now}")
    say(f"finished already: step {int(path.name)} of {name} (run.fresh=true starts again)")
    say(str(path))
    if to_hub:
        to_hub.begin(path.parent.parent)
        _push(to_hub, RunFolder(path.parent.parent), int(path.name))
    return path
