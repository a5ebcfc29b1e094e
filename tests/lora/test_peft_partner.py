from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
from packaging.version import Version

from emote.lora.peft_partner import check_torchao
from tests.conftest import ROOT


def write_torchao(folder: Path, version: str) -> None:
    """What an installed torchao looks like to peft, as far as its version."""
    (folder / "torchao").mkdir()
    (folder / "torchao" / "__init__.py").touch()
    facts = folder / f"torchao-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchao\nVersion: {version}\n")


@pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.40"), reason="older ones import torchao, and stumble over a made-up one"
)
def test_a_torchao_that_peft_refuses_is_one_sentence_before_anything_is_loaded(tmp_path: Path) -> None:
    write_torchao(tmp_path, "0.10.0")
    words = ["train", "experiment=smoke", f"run.dir={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "emote", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: peft ") and "torchao 0.10.0" in line and "pip uninstall -y torchao" in line


def test_without_torchao_nothing_is_said() -> None:
    check_torchao()
