"""What a run is computed on. The promise of bit-identity holds for equal arithmetic; this says when it does not."""

from __future__ import annotations

import json
from typing import Any

import torch

from emote.config import Config, micro_batch
from emote.models.precision import Decision
from emote.runs.environment import device_name
from emote.runs.run_folder import RunFolder
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import write_json


def check_numerics(config: Config, decision: Decision, folder: RunFolder) -> bool:
    """Compare with what the first steps were computed on. Returns whether the run is now a mixed one.

    Raises ConfigError where precision, micro-batch or the number of processes differ and `run.mixed` does not allow it.
    """
    now: dict[str, Any] = {
        "device": device_name(decision.device),
        "precision": str(decision.frozen).removeprefix("torch."),
        "micro_batch": micro_batch(config.trainer),
        "processes": config.trainer.devices * config.trainer.nodes,
        "torch": torch.__version__,
    }
    path = folder.arithmetic
    if not path.exists() or not folder.checkpoint_steps():
        unknown = bool(folder.checkpoint_steps())  # it was damaged: nobody knows whether they are alike
        write_json(path, {**now, "mixed": unknown})
        return unknown
    before = {"processes": 1, **json.loads(path.read_text())}
    changed = [f"{key} {before[key]} → {value}" for key, value in now.items() if before[key] != value]
    if (
        changed
        and any(before[key] != now[key] for key in ("precision", "micro_batch", "processes"))
        and not config.run.mixed
    ):
        raise ConfigError(
            f"this run was begun with other arithmetic ({'; '.join(changed)}), so it would not stay bit-identical\n"
            "set run.mixed=true to go on all the same, or run.fresh=true to start again"
        )
    if changed:
        echo(f"note: going on with other arithmetic ({'; '.join(changed)}); bit-identity is not promised")
        before["mixed"] = True
        write_json(path, before)
    return bool(before["mixed"])
