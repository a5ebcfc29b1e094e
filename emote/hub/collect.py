"""What is published of a run: its adapter in both formats, card, images, loss curve, configuration, summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from emote.hub.card import write_card
from emote.hub.client import Content
from emote.hub.facts import Facts, is_local
from emote.inference.evaluated import EVALUATION_FILE, read_evaluation
from emote.inference.resolve_adapter import ADAPTER_FILE, adapter_hash
from emote.runs.damage import Damaged, read_settings, read_state
from emote.util.errors import ConfigError
from emote.util.files import read_tensor_header, tensor_header
from emote.util.scrub import Scrubber

ADAPTERS = ("*.safetensors", "best-at-step-*/*.safetensors", "rank-*/*.safetensors")
AS_THEY_ARE = ("samples.png", "samples/*.png", "loss.png", "metrics.csv")
RESUME = "resume"  # the folder with what going on elsewhere needs
OF_THIS_MACHINE = ("run", "hub", "logger", "resume_from")  # sections of the configuration
OF_THIS_USER = ("skipped_items", "hub")  # of the summary: names of files, and where they were pushed


def collect(folder: Path, repository: str, resume: Path | None = None) -> dict[str, Content]:
    """Path in the repository → its content, for a folder that a run left: a step count's, or a snapshot on the way.

    resume: a folder with what going on elsewhere needs; nothing of it where it does not exist. Nothing of this machine
    is in what is returned: see `scrub`. Raises ConfigError where the folder is not whole.
    """
    config, summary = _read(folder)
    scrubber = Scrubber(keep=_said_on_purpose(config, repository))
    base_is_local = is_local(str(config["model"]["path"]))
    config = scrubber.values(_without(config, OF_THIS_MACHINE))
    summary["command"] = scrubber.command(summary.get("command", ""))
    summary["skipped"] = len(summary.get("skipped_items", []))
    summary = scrubber.values(_without(summary, OF_THIS_USER))
    found: dict[str, Content] = {}
    for pattern in ADAPTERS:
        for file in sorted(folder.glob(pattern)):
            found[file.relative_to(folder).as_posix()] = _clean_header(file, scrubber)
    for pattern in AS_THEY_ARE:
        found |= {file.relative_to(folder).as_posix(): file for file in sorted(folder.glob(pattern))}
    if resume:
        found |= {f"{RESUME}/{f.relative_to(resume).as_posix()}": f for f in sorted(resume.rglob("*")) if f.is_file()}
    found["config.yaml"] = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=10**6).encode()
    evaluation = _evaluation(folder)
    if evaluation:
        found[EVALUATION_FILE] = (json.dumps(evaluation, indent=2, ensure_ascii=False) + "\n").encode()
    summary["files"] = sorted([*found, "README.md", "summary.json"])
    found["summary.json"] = (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode()
    card = write_card(Facts(config, summary, repository, frozenset(found), base_is_local, evaluation))
    found["README.md"] = card.encode()
    return found


def _evaluation(folder: Path) -> dict[str, Any]:
    file = folder / ADAPTER_FILE
    if not (folder / EVALUATION_FILE).is_file() or not file.is_file():
        return {}
    return read_evaluation(folder / EVALUATION_FILE, adapter_hash(file))


def _without(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        config, summary = read_settings(folder / "config.yaml"), read_state(folder / "summary.json")
    except Damaged as error:
        raise ConfigError(f"{folder} cannot be published: {error}") from error
    if "lora" not in config:
        raise ConfigError(f"{folder} cannot be published: it has no run's configuration and summary")
    return config, summary


def _said_on_purpose(config: Mapping[str, Any], repository: str) -> list[str]:
    shown = config["callbacks"]["samples"]["prompts"]
    model = str(config["model"]["path"])
    model = "" if Path(model).is_absolute() else model
    return [*map(str, shown), str(config["data"]["caption"]), str(config["name"]), repository, model]


def _clean_header(file: Path, scrubber: Scrubber) -> Content:
    """The file, or where its header tells of this machine a copy that does not."""
    with file.open("rb") as stream:
        header = read_tensor_header(stream)
        told = header.get("__metadata__", {})
        clean = {key: _clean_text(text, scrubber) for key, text in told.items()}
        if clean == told:
            return file
        return tensor_header(header | {"__metadata__": clean}) + stream.read()


def _clean_text(text: str, scrubber: Scrubber) -> str:
    try:
        inner = json.loads(text)
    except ValueError:
        return scrubber.text(text)
    if not isinstance(inner, dict):
        return scrubber.text(text)
    clean = scrubber.values(inner)
    return text if clean == inner else json.dumps(clean, sort_keys=True)
