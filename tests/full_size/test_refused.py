"""Stable Diffusion 1.5 on a CPU is refused by its configuration alone: its weight files are empty here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from emote.cli.train import main
from emote.models.single_file import PUBLISHED
from emote.models.weights import STEMS, weighted_parts


def test_4500_steps_of_stable_diffusion_on_a_cpu_are_refused_by_saying_how_long_they_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(PUBLISHED / "sd15", tmp_path / "sd15"))
    for part in weighted_parts(model):
        save_file({"none": torch.zeros(1)}, model / part / f"{STEMS[part]}.safetensors")
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64), (80 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "images" / f"{i}.txt").write_text(f"colour {i}")
    words = [
        f"model.path={model}", "data=folder", f"data.path={tmp_path / 'images'}", "hardware=cpu", "logger=csv",
        "trainer.max_steps=4500", f"run.dir={tmp_path / 'runs'}", f"run.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert main(words) == 2
    said = capsys.readouterr()
    assert "4,500 steps would take about" in said.err and " on this CPU (" in said.err
    assert "run.max_hours=6 allows 6.0 hours" in said.err
    assert "trains 797,184 parameters in 128 modules; 859,520,964 stay as they are" in said.out
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    # once that is allowed, it goes on to the weights, which are none
    assert main([*words, "run.max_hours=1e6"]) == 2
    assert "vae lacks 248 weights" in capsys.readouterr().err
