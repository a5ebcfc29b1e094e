"""Runs that are nearly this one: the same under another name, or different in a key or two."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emote.runs.find import list_run_folders
from emote.runs.run_folder import RunFolder

MOST_KEYS, MOST_RUNS = 2, 3  # that differ, and that are named
PARTS = {"data": "the images", "unet": "the UNet's weights", "vae": "the VAE's weights",
         "text_encoder": "the text encoder's weights"}  # fmt: skip


def facts_of(identity: str, science: Mapping[str, object], data: str, weights: Mapping[str, str]) -> dict[str, Any]:
    """Return what is kept of a run: all that makes its identity."""
    return {"identity": identity, "science": dict(science), "data": data, "weights": dict(weights)}


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return each key in which two runs differ, with both values, and what of images and weights differs."""
    mine, other = ours["science"], theirs.get("science", {})
    found = [
        f"{key} ({_shown(other.get(key))} there, {_shown(mine.get(key))} here)"
        for key in {**mine, **other}
        if mine.get(key) != other.get(key)
    ]
    parts = {"data": (ours["data"], theirs.get("data"))}
    parts |= {name: (value, theirs.get("weights", {}).get(name)) for name, value in ours["weights"].items()}
    return found + [PARTS.get(name, name) for name, (here, there) in parts.items() if here != there]


def siblings(folder: RunFolder, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each run beside a new one that is it under another name, or nearly is it."""
    near = []
    for other in list_run_folders(folder.root.parent):
        theirs = other.facts()
        if other.root == folder.root or other.is_aside or not other.latest_checkpoint():
            continue
        if not all(isinstance(theirs.get(part), dict) for part in ("science", "weights")):
            continue
        if len(found := differences(facts, theirs)) <= MOST_KEYS:
            near.append((len(found), -other.latest_checkpoint(), other, found))
    for _, _, other, found in sorted(near, key=lambda entry: entry[:2])[:MOST_RUNS]:
        at = f"{other.root} (at step {other.latest_checkpoint():,})"
        if found:
            yield f"{at} differs from this new run in {' and '.join(found)} alone; set the same to go on with it"
        else:
            again = shlex.quote(f"resume_from={other.root}")
            yield f"{at} is this run under another name; {again} goes on from it"


def true_identity(root: Path) -> str | None:
    """Return the identity that a run's own files tell, however its directory is called; None where they do not."""
    folder = RunFolder(root)
    told = folder.facts().get("identity")
    for step in reversed(folder.delivered_steps()) if not told else ():
        try:
            told = folder.summary(step).get("identity")
        except Exception:  # damaged: the one before it may tell
            continue
        break
    return str(told) if told else None


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
