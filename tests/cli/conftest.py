from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Write a YAML file of one's own; returns the words with which it is found."""

    def write(name: str, text: str) -> list[str]:
        file = tmp_path / "mine" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return ["--config-dir", str(tmp_path / "mine")]

    return write
