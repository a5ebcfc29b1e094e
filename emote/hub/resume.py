"""Going on with a run on another machine: what that needs is kept beside what is pushed, and fetched from there."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from emote.config import HUB_SCHEME, Config
from emote.hub.client import Hub, NotNow
from emote.hub.collect import RESUME
from emote.runs.damage import Damaged, checkpoint_damage, read_settings
from emote.runs.identity import identity_keys
from emote.runs.run_folder import RunFolder, identity_of
from emote.runs.siblings import true_identity
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import replacing, write_json

RUN_FILE = "run.json"  # which run it is
BESIDE = ("base_validation.json", "arithmetic.json")


def keep_for_resume(folder: RunFolder, step: int, name: str) -> Path:
    """Beside a snapshot, all that a run needs to go on from its last checkpoint up to `step`; returns the directory.

    It has the layout of a run's directory. Files are linked, so that a checkpoint may be pruned meanwhile.
    """
    directory = folder.snapshot(step) / RESUME
    shutil.rmtree(directory, ignore_errors=True)
    there, saved = RunFolder(directory), folder.latest_checkpoint(at_most=step)
    if not saved:
        return directory
    _link(folder.checkpoint(saved), there.checkpoint(saved))
    for other in BESIDE:
        if (folder.root / other).exists():
            shutil.copy(folder.root / other, directory / other)
    rows = folder.metrics.copy_until(saved, there.metrics.path)
    scored = [row for row in rows if "validation_loss" in row]
    if scored:
        best = int(min(scored, key=lambda row: (row["validation_loss"], row["step"]))["step"])
        if folder.best_adapter(best).exists():
            _link(folder.best_adapter(best), there.best_adapter(best))
    write_json(directory / RUN_FILE, {"name": name, "step": saved})
    return directory


def fetch_run(config: Config, folder: RunFolder, name: str) -> None:
    """Bring what `resume_from` names into the run's directory, where that is not as far already.

    name: of the run that this configuration is. Raises ConfigError where there is nothing to go on from, where it is
    another run, and where the Hub does not give it.
    """
    wanted = config.resume_from
    assert wanted is not None
    with TemporaryDirectory() as temporary:
        source, theirs, configuration = _found(wanted, Path(temporary))
        if identity_of(theirs) != identity_of(name):
            raise ConfigError(
                f"resume_from={wanted} is run {theirs}, and what was typed is run {name}: "
                f"{_differences(config, configuration)}"
            )
        step, here = source.latest_checkpoint(), folder.latest_checkpoint()
        while step and (reason := checkpoint_damage(source.checkpoint(step))):
            echo(f"warning: {source.checkpoint(step)} {reason}: it is not used")
            step = source.latest_checkpoint(at_most=step - 1)
        if not step:
            raise ConfigError(f"resume_from={wanted} has no checkpoint; it was pushed without hub.checkpoints=true")
        if here >= step:
            echo(f"resume_from={wanted} is at step {step}, and this machine at step {here}: going on with its own")
            return
        _copy(source, folder, step)
    echo(f"fetched step {step} from {wanted}")


def _found(wanted: str, temporary: Path) -> tuple[RunFolder, str, Path]:
    """(a directory in a run's layout, the run's name, its configuration's file, which may be missing)."""
    if wanted.startswith(HUB_SCHEME):
        repository = wanted.removeprefix(HUB_SCHEME)
        try:
            root = Hub().download(repository, [f"{RESUME}/*", "config.yaml"], temporary)
        except NotNow as error:
            raise ConfigError(f"resume_from={wanted}: {error}; try again later, or leave it out") from error
        except ConfigError as error:
            raise ConfigError(f"resume_from={wanted}: {error}") from error
    else:
        root = Path(wanted).expanduser()
        if root.is_file() and root.suffix == ".ckpt":
            run = root.parent.parent if root.parent.name == "checkpoints" else root.parent
            raise ConfigError(f"resume_from={wanted} is a single checkpoint; name its run's directory: {run}")
        if not root.is_dir():
            raise ConfigError(
                f"resume_from={wanted} is not a directory; for a run on the Hub set {HUB_SCHEME}owner/name"
            )
    if (root / RESUME / RUN_FILE).is_file():
        told = json.loads((root / RESUME / RUN_FILE).read_text(encoding="utf-8"))
        return RunFolder(root / RESUME), str(told["name"]), root / "config.yaml"
    if (root / "checkpoints").is_dir():
        folder = RunFolder(root)
        known = true_identity(root) or folder.identity  # the directory may have been renamed
        if not re.fullmatch(r"[0-9a-f]{12}", known):
            raise ConfigError(
                f"resume_from={wanted} does not say which run it is, and its directory was renamed; "
                "give it back its name, <name>-<12 hex digits>"
            )
        return folder, f"{folder.title or folder.name}-{known}", (folder.last_deliverables() or root) / "config.yaml"
    raise ConfigError(
        f"resume_from={wanted} has nothing to go on from; push with hub.checkpoints=true, or name a run's directory"
    )


def _differences(config: Config, file: Path) -> str:
    """In words: by which keys the two differ, where their configuration tells."""
    try:
        theirs: Any = read_settings(file)
    except Damaged:
        return "their images, base weights or settings differ; give the same as there"
    changed = []
    for key, ours in identity_keys(config).items():
        value = theirs
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value != ours:
            changed.append(f"{key} is {value} there and {ours} here")
    if not changed:
        return "the settings are equal, so the images or the base weights differ"
    return "; ".join(changed[:5]) + "; set the same values, or leave resume_from out"


def _copy(source: RunFolder, folder: RunFolder, step: int) -> None:
    """The checkpoint last: until it is there, nothing has changed for a run that begins."""
    folder.root.mkdir(parents=True, exist_ok=True)
    source.metrics.copy_until(step, folder.metrics.path)
    files = [source.root / name for name in BESIDE]
    files += [*source.root.glob("best/*.safetensors"), source.checkpoint(step)]
    for file in files:
        if file.exists():
            with replacing(folder.root / file.relative_to(source.root)) as temporary:
                shutil.copyfile(file, temporary)


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:  # a disk that has no links, such as a mounted drive
        shutil.copyfile(file, target)
