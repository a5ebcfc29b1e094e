"""The wheel as others install it: built, installed beside the packages of this environment, and run from nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

Emote = Callable[..., str]
PARTS = ("conf", "emote", "weights", "LICENSE", "README.md", "pyproject.toml", "setup.py")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with emote's wheel in it, which sees the other installed packages but not this checkout."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    for part in PARTS:  # a copy, because building leaves files behind
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inside = Path(subprocess.run([python, "-c", query], check=True, capture_output=True, text=True).stdout.strip())
    # a directory that a .pth file adds has its own .pth files left alone: no editable emote comes along
    (inside / "others.pth").write_text(sysconfig.get_path("purelib"))
    # what pip calls with --no-build-isolation; the new environment's own setuptools may be too old
    build = "from setuptools.build_meta import build_wheel; build_wheel('wheels')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=300)
    (wheel,) = source.glob("wheels/emote-*.whl")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def emote(environment: Path, tmp_path: Path) -> Emote:
    """Type a command in an empty directory; returns what it prints."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def type_words(*words: str) -> str:
        done = subprocess.run(
            [environment / "bin" / "emote", *words], cwd=tmp_path, env=variables, capture_output=True, text=True,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return type_words


def test_the_installed_command_knows_its_configuration_and_its_own_name(emote: Emote, environment: Path) -> None:
    text = emote("train", "--help")
    assert "emote train experiment=quickstart" in text and "python train.py" not in text
    assert "name: smoke" in emote("train", "experiment=smoke", "--cfg", "job")
    assert "Draw images" in emote("generate", "--help")
    told = emote("doctor")
    assert re.search(rf"^  emote  +{re.escape(str(environment))}/lib/.*/emote$", told, re.MULTILINE)
    assert "nothing is missing" in told


def test_every_file_that_is_read_at_run_time_is_in_the_wheel(environment: Path) -> None:
    (package,) = environment.glob("lib/*/site-packages/emote")
    for folder in ("conf", "weights/mini", "weights/mini-speed"):
        there = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {path.relative_to(package / folder) for path in (package / folder).rglob("*") if path.is_file()} == there
    kept = {path.relative_to(ROOT / "emote") for path in (ROOT / "emote").rglob("*") if path.is_file()}
    kept = {path for path in kept if "__pycache__" not in path.parts}
    assert kept <= {path.relative_to(package) for path in package.rglob("*")}


def test_it_trains_and_draws_in_an_empty_directory(emote: Emote, tmp_path: Path) -> None:
    delivered = tmp_path / emote("train", "experiment=smoke", "trainer.accelerator=cpu").splitlines()[-1]
    assert delivered.parts[-4:-2] == ("runs", delivered.parts[-3]) and (delivered / "summary.json").is_file()
    assert '"command": "emote train experiment=smoke' in (delivered / "summary.json").read_text()
    told = emote("generate", "prompts=[a fairy]", "n=1", "inference_steps=2", "device=cpu")
    assert (tmp_path / told.splitlines()[-1]).is_file()
    assert delivered.parts[-3] in emote("runs")
