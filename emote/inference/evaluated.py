"""What an evaluation found of an adapter, in a file beside it: how strong it should be used, and every figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EVALUATION_FILE = "evaluation.json"
FORMAT = 1


def evaluation_beside(file: Path, usual: str) -> Path:
    """Where the evaluation of an adapter file lies. usual: the name of a run's own adapter, which needs no prefix."""
    return file.with_name(EVALUATION_FILE if file.name == usual else f"{file.stem}.{EVALUATION_FILE}")


def read_evaluation(path: Path, adapter_hash: str) -> dict[str, Any]:
    """What was found of the adapter with this hash; {} where it was not evaluated, or is another one by now."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(told, dict) and (told.get("format"), told.get("adapter_hash")) == (FORMAT, adapter_hash)
    return told if known else {}
