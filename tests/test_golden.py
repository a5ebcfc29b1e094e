"""Numbers that no change of the code may move: they were measured once and stand here.

Everything goes through `train.py` and the files that it leaves, so that no name within the package matters. A new value
here is a statement that runs of before mean something else now.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
HALF_TRAINED = Path(__file__).parent / "golden" / "half_trained"  # 4 of 6 steps, by revision a0bc24f

TINY_RUN = "smoke-70fe1308bc62"
TINY_LOSSES = [1.0492080450057983, 1.0391243696212769, 1.0943739414215088]
TINY_IMAGE = [  # mean red, green and blue of the drawn image's 16 squares of 8×8 pixels
    [[127.6, 122.5, 135.2], [136.6, 125.8, 132.7], [128.8, 130.8, 146.9], [142.5, 113.6, 137.5]],
    [[135.1, 136.1, 137.3], [159.4, 151.0, 99.1], [151.7, 132.4, 126.5], [141.0, 121.2, 143.1]],
    [[129.5, 156.3, 126.9], [149.3, 162.8, 123.2], [157.8, 140.6, 119.7], [150.5, 130.8, 129.2]],
    [[126.1, 114.2, 137.1], [120.9, 128.1, 133.4], [125.0, 129.5, 139.2], [146.8, 121.0, 138.7]],
]
SMOKE_RUN = "smoke-74c817ced5d1"
SMOKE_HELD_OUT_LOSS = (0.17798, 0.15457)  # of the base model, and after 20 steps


def train(*words: str) -> Path:
    """Run `python train.py experiment=smoke …` on one thread and return the directory that its last line names."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), "experiment=smoke", "trainer.accelerator=cpu", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def column(path: Path, name: str) -> list[float]:
    with open(path, newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def tiny_words(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        f"model.path={tiny_sd}",
        f"run.cache_dir={tmp_path_factory.mktemp('cache')}",
        "model.resolution=32",
        "data.max_items=24",
        "trainer.max_steps=6",
        "callbacks.checkpoint.every_steps=2",
        "callbacks.validation.every_steps=3",
        "callbacks.samples.inference_steps=2",
    ]


@pytest.fixture(scope="module")
def tiny_run(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(*tiny_words, f"run.dir={tmp_path_factory.mktemp('runs')}")


def test_the_tiny_run_is_the_same_run(tiny_run: Path) -> None:
    assert tiny_run.parent.parent.name == TINY_RUN


def test_the_tiny_run_has_the_same_losses(tiny_run: Path) -> None:
    assert column(tiny_run / "metrics.csv", "loss")[:3] == pytest.approx(TINY_LOSSES, rel=1e-5)


def test_the_tiny_run_draws_the_same_image(tiny_run: Path) -> None:
    image = np.asarray(Image.open(tiny_run / "samples" / "00-fine-tuned.png").convert("RGB"), dtype=float)
    squares = image.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3))
    assert np.abs(squares - np.array(TINY_IMAGE)).max() < 1.0


def test_a_run_that_an_earlier_revision_began_is_finished_to_the_same_adapter(
    tiny_run: Path, tiny_words: list[str], tmp_path: Path
) -> None:
    shutil.copytree(HALF_TRAINED / TINY_RUN, tmp_path / TINY_RUN)
    finished = train(*tiny_words, f"run.dir={tmp_path}", "run.mixed=true")
    assert column(finished / "metrics.csv", "loss") == pytest.approx(column(tiny_run / "metrics.csv", "loss"), rel=1e-5)
    ours, theirs = (load_file(path / "smoke.safetensors") for path in (finished, tiny_run))
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-7) for name in ours)
    assert json.loads((finished / "summary.json").read_text())["resumed_from_step"] == 4


def test_smoke_is_the_same_run_with_the_same_held_out_loss(tmp_path: Path) -> None:
    path = train(f"run.dir={tmp_path / 'runs'}", f"run.cache_dir={tmp_path / 'cache'}")
    assert path.parent.parent.name == SMOKE_RUN
    before, after = (np.mean(column(path / "validation.csv", name)) for name in ("base_loss", "final_loss"))
    assert (before, after) == pytest.approx(SMOKE_HELD_OUT_LOSS, rel=1e-3)
