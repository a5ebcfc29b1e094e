"""A run from its configuration to its deliverables: which one it is, whether it is finished, else `complete`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emote.config import Config
from emote.runs.damage import Damaged, remove_set_aside, tensors_damage
from emote.runs.environment import git_revision
from emote.runs.identity import deliverable_key
from emote.runs.lock import run_lock
from emote.runs.run_folder import ASIDE, PLATEAU, RunFolder
from emote.runs.siblings import siblings
from emote.training.distributed.process_group import ProcessGroup
from emote.training.distributed.process_index import find_process_index
from emote.training.identify import identify
from emote.util.console import echo, log_to, show_warnings
from emote.util.interrupt import Interrupted, StopRequest
from emote.util.quiet import quiet_libraries
from emote.util.timer import Timer

if TYPE_CHECKING:
    from emote.hub.run_pushes import ToHub

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
        from emote.training.distributed.worker import run_worker

        return run_worker(process_group) or Path(config.run.dir)
    with StopRequest() as stop:
        try:
            return _run(config, command, stop, process_group)
        finally:
            process_group.call(None)
            log_to(None)


def _run(config: Config, command: list[str], stop: StopRequest, process_group: ProcessGroup) -> Path:
    timer = Timer()
    to_hub = _start_pushes(config, command)
    this = identify(config)
    config.data.licence = config.data.licence or this.found.source.licence
    folder, name, step = this.folder, this.name, config.trainer.max_steps
    with run_lock(folder.root):
        if config.run.fresh:
            set_aside(folder)
        if is_delivered(folder.deliverables(step), config):
            return print_finished(name, folder.deliverables(step), to_hub)
        folder.root.mkdir(parents=True, exist_ok=True)
        log_to(folder.log)
        facts = this.facts(config)
        if not folder.checkpoint_steps() and config.resume_from is None and config.logger.run_name is None:
            for line in siblings(folder, facts):  # of a sweep, whose jobs differ in a key each, nothing is said
                echo(f"note: {line}")
        folder.note_facts(facts)
        if config.resume_from is not None:
            from emote.hub.resume import fetch_run

            fetch_run(config, folder, name)
        from emote.training.complete import complete  # late: a finished run is shown without what trains

        path = complete(config, command, this, stop, process_group, to_hub, timer)
        if to_hub:
            _push(to_hub, folder, step)
        folder.prune_checkpoints(newest=step)
        remove_set_aside(folder.root, step)
        return path


def _start_pushes(config: Config, command: list[str]) -> ToHub | None:
    if not config.hub.push:
        return None
    from emote.hub.run_pushes import start_pushes  # late: few runs push

    return start_pushes(config, command)


def _push(to_hub: ToHub, folder: RunFolder, step: int) -> None:
    if to_hub.config.checkpoints:
        from emote.hub.resume import keep_for_resume

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
    """Return whether a directory of deliverables is whole, and shows what this configuration wants shown.

    One that ended at a plateau is not whole for a run that does not ask to end there.
    """
    folder, step = RunFolder(path.parent.parent), int(path.name)
    if not folder.is_delivered(step):
        return False
    try:
        summary = folder.summary(step)
        for name in (name for name in summary["files"] if name.endswith(".safetensors")):
            if not (path / name).is_file() or tensors_damage(path / name):
                raise Damaged(f"{path / name} {'is damaged' if (path / name).is_file() else 'is gone'}")
    except (Damaged, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, Damaged) else f"{path / 'summary.json'} is damaged"
        echo(f"{reason}: what step {step} leaves is written again")
        return False
    if summary.get("stopped_by") == PLATEAU and config.trainer.stop is None:
        return False
    return bool(summary.get("deliverable_key") == deliverable_key(config))


def print_finished(name: str, path: Path, to_hub: ToHub | None) -> Path:
    then, now = RunFolder(path.parent.parent).summary(int(path.name)).get("git_revision"), git_revision()
    if then != now:
        echo(f"note: it was made by revision {then}, the code is now at {now}")
    echo(f"finished already: step {int(path.name)} of {name} (run.fresh=true starts again)")
    echo(str(path))
    if to_hub:
        to_hub.begin(path.parent.parent)
        _push(to_hub, RunFolder(path.parent.parent), int(path.name))
    return path
