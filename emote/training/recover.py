"""Before a run goes on: what of its files is damaged or gone is told, and set aside so that nothing takes it for sound.

The checkpoint before a damaged one leads to the same adapter bit for bit, only later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from emote.runs.damage import checkpoint_damage, json_damage, set_aside, tensors_damage
from emote.runs.run_folder import RunFolder
from emote.training.precision import RUN
from emote.util.console import echo

ARITHMETIC = {"device", "precision", "micro_batch", "torch", "mixed"}


def recover(folder: RunFolder, at_most: int) -> None:
    """Leave only files that can be used, and say in a line each what was set aside or is gone.

    at_most: how far the run is to go; checkpoints beyond it are looked at when they are used.
    """
    broken = list(_damaged_checkpoints(folder, at_most))
    for file, reason in broken:
        aside = set_aside(file).name
        echo(f"warning: {file} {reason}, and is now called {aside} (removed when the run is finished)")
    start = folder.latest_checkpoint(at_most=at_most)
    on = f"going on from step {start}" if start else "starting from step 0 again"
    known = max((step for step in (folder.noted_step(), *folder.delivered_steps()) if step <= at_most), default=0)
    if known > start and known not in [int(file.stem) for file, _ in broken]:
        echo(f"warning: {folder.checkpoint(known)} is gone: {on}")
    elif broken:
        echo(f"{on}; the result will be the same")
    for file, reason, consequence in _damaged_files(folder):
        set_aside(file)
        echo(f"warning: {file} {reason}: {consequence}")
    missing = start - sum(row["step"] <= start for row in folder.metrics.rows())
    if missing > 0:
        where = f"{missing} of the first {start} steps"
        echo(f"warning: {folder.metrics.path} lacks {where}: the loss curve has a gap there")


def _damaged_checkpoints(folder: RunFolder, at_most: int) -> Iterator[tuple[Path, str]]:
    """Yield those after the newest sound one, the newest first, with what is wrong."""
    for step in reversed([step for step in folder.checkpoint_steps() if step <= at_most]):
        file = folder.checkpoint(step)
        reason = checkpoint_damage(file) or _other(file, step, folder.identity)
        if reason is None:
            return
        yield file, reason


def _other(file: Path, step: int, identity: str) -> str | None:
    """Return whether a whole checkpoint is that of another step or run."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        of_step, of_run = int(content["global_step"]), content.get(RUN, identity)
        if not isinstance(content["state_dict"], dict):
            raise TypeError
    except Exception:  # torch raises almost anything for what it did not write
        return "is not a checkpoint"
    if of_run != identity:
        return f"is a checkpoint of run {of_run}"
    return None if of_step == step else f"is the checkpoint of step {of_step}"


def _damaged_files(folder: RunFolder) -> Iterator[tuple[Path, str, str]]:
    """Yield (file, what is wrong, what follows)."""
    root = folder.root
    known: list[tuple[Path, Callable[[Any], bool], str]] = [
        (
            folder.arithmetic,
            lambda told: told.keys() >= ARITHMETIC,
            "whether all steps are computed alike is not known",
        ),
        (root / "base_validation.json", _is_score, "the base model is scored again"),
        (root / "stopped.json", lambda told: isinstance(told["step"], int), "whether the run had ended is not known"),
    ]
    for file in sorted((root / "held_out").glob("*.json")):
        known.append((file, lambda told: all(map(_number, told)), "a plateau may be noticed later"))
    for file, is_sound, consequence in known:
        if file.exists() and (reason := json_damage(file, is_sound)):
            yield file, reason, consequence
    for file in sorted((root / "best").glob("*.safetensors")):
        if reason := tensors_damage(file):
            yield file, reason, "the adapter of that step cannot be delivered as the best one"


def _number(value: object) -> bool:
    return isinstance(value, (int, float))


def _is_score(told: Any) -> bool:
    return isinstance(told["key"], dict) and all(map(_number, told["losses"]))
