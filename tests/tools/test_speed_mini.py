"""What is committed of a speed adapter: half-precision weights that draw, their configuration, a sheet and a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emote.inference.resolve_adapter import find_adapter
from emote.tools.speed_mini import SpeedOptions, make

LCM = {
    "trainer.objective": "lcm", "callbacks.samples.scheduler": "lcm", "callbacks.samples.guidance_scale": 1.0,
    "data.held_out": 0, "trainer.max_steps": 1,
}  # fmt: skip


def test_a_finished_run_becomes_a_folder_that_is_drawn_with(
    tiny_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "fast"
    assert make(SpeedOptions(run=str(tiny_run(**LCM)), output=str(output))) == 0
    assert capsys.readouterr().out.strip().endswith(str(output))
    names = {"README.md", "config.yaml", "pytorch_lora_weights.safetensors", "sheet.png"}
    assert {path.name for path in output.iterdir()} == names
    adapter = find_adapter(str(output))
    assert adapter.few_steps is not None and adapter.few_steps.scheduler == "lcm"
    assert {layer.down.dtype for layer in adapter.load().layers.values()} == {torch.float16}
    card = (output / "README.md").read_text()
    assert (
        "1 steps of 4 on the latents of Openmoji's images, guidance from\n3 to 7" in card and str(tmp_path) not in card
    )


def test_the_miniature_s_own_is_found_by_its_name(tmp_path: Path) -> None:
    adapter = find_adapter("mini-speed", tmp_path)
    assert adapter.few_steps is not None and adapter.base.path == "weights/mini" and adapter.resolution == 128
    assert find_adapter(adapter.label, tmp_path).file == adapter.file
