"""What a crash, a full disk or a person has left of a run's files: which of them cannot be used, and why."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from emote.util.errors import ConfigError
from emote.util.files import is_sealed, read_tensor_header

ASIDE = ".damaged"  # what such a file's name ends with afterwards
PLACES = (".", "checkpoints", "best", "held_out")  # of a run, where files are set aside


class Damaged(ConfigError):
    """A file of a run that cannot be read."""


def read_state(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises Damaged where there is none in it."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "is empty" if file.is_file() and not file.stat().st_size else f"cannot be read ({_short(error)})"
        raise Damaged(f"{file} {reason}") from error
    if not isinstance(told, dict):
        raise Damaged(f"{file} is damaged: it holds no JSON object")
    return told


def read_settings(file: Path) -> dict[str, Any]:
    """Return the configuration in a file of YAML. Raises Damaged where there is none in it."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise Damaged(f"{file} cannot be read ({_short(error)})") from error
    if not isinstance(told, dict):
        raise Damaged(f"{file} is damaged: it holds no settings")
    return told


def json_damage(file: Path, is_sound: Callable[[Any], bool]) -> str | None:
    """Return what is wrong with a JSON file, None where `is_sound` takes its content."""
    try:
        return None if is_sound(json.loads(file.read_text(encoding="utf-8"))) else "does not hold what it should"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "is damaged" if file.stat().st_size else "is empty"


def checkpoint_damage(file: Path) -> str | None:
    """Return what is wrong with a checkpoint, None where its checksums hold (torch writes them and compares none).

    Raises ConfigError where it may not be read.
    """
    if not file.stat().st_size:
        return "is empty"
    try:
        with zipfile.ZipFile(file) as archive:
            return "is damaged" if archive.testzip() else None
    except PermissionError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); give yourself the right to read it") from error
    except Exception:  # of a damaged zip, zipfile and what it calls raise almost anything
        return "is cut off or damaged"


def tensors_damage(file: Path) -> str | None:
    """Return what is wrong with a safetensors file, by its length and, where its header has one, its checksum."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            header = read_tensor_header(stream)
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            if stream.tell() + max(ends) != size:
                return "is cut off"
            return None if is_sealed(header, stream) else "is damaged"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError, OverflowError):
        return "is damaged"


def set_aside(file: Path) -> Path:
    """Give a damaged file another name, so that nothing takes it for a sound one; returns where it lies."""
    aside = file.with_name(file.name + ASIDE)
    file.replace(aside)
    return aside


def remove_set_aside(root: Path, step: int) -> None:
    """Remove what `set_aside` left of a run that is finished at a step, and of the steps up to it.

    A checkpoint that is whole is of another run or step, and stays.
    """
    for file in (file for folder in PLACES for file in (root / folder).glob(f"*{ASIDE}")):
        stem = file.name.split(".")[0]
        if stem.isdecimal() and int(stem) > step:
            continue
        with suppress(OSError, ConfigError):  # the run is finished all the same
            if file.suffixes[:1] != [".ckpt"] or checkpoint_damage(file):
                file.unlink()


def _short(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:80]
