from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emote.config import Accelerator
from emote.inference.job import generate
from emote.inference.options import Options
from emote.inference.png_metadata import read_parameters

Runner = Callable[..., Path]


def apart(first: Path, second: Path) -> int:
    return int(np.abs(np.asarray(Image.open(first), dtype=int) - np.asarray(Image.open(second))).max())


def test_a_sample_explains_itself_and_can_be_drawn_again(
    tiny_run: Runner, tmp_path: Path, tiny_sd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_run(**{"callbacks.samples.prompts": "[An emoji of cat, '', An emoji of dog]"})
    tuned, base = path / "samples" / "02-fine-tuned.png", path / "samples" / "02-base.png"
    told = read_parameters(tuned)
    assert told.run == f"{path.parent.parent.name}/6" and told.model == tiny_sd.name
    assert (told.request.prompt, told.request.seed, told.request.lora_scale) == ("An emoji of dog", 2, 1.0)
    assert read_parameters(base).request.lora_scale == 0
    assert "parameters" not in Image.open(path / "samples" / "01-base.png").info  # there is no way to ask for it

    common = {"runs_dir": str(tmp_path / "runs"), "device": Accelerator.cpu}
    generate(Options(from_image=str(tuned), output=str(tmp_path / "again"), **common))
    assert apart(tmp_path / "again" / "02-fine-tuned.png", tuned) <= 2
    generate(Options(from_image=str(base), output=str(tmp_path / "again"), model=str(tiny_sd), **common))
    assert apart(tmp_path / "again" / "02-base.png", base) <= 2


def test_what_a_run_left_draws_by_its_name(tiny_run: Runner, tmp_path: Path) -> None:
    path = tiny_run()
    generate(
        Options(
            run="smoke", prompts=["cat"], n=1, inference_steps=2, output=str(tmp_path / "new"),
            runs_dir=str(tmp_path / "runs"), device=Accelerator.cpu,
        )
    )  # fmt: skip
    told = read_parameters(tmp_path / "new" / "cat-seed0.png")
    assert told.request.prompt == "An emoji of cat, openmoji style"
    assert told.run == f"{path.parent.parent.name}/6"
