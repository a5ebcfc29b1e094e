"""The three notebooks run from their first cell to their last on the miniature, so they cannot rot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from emote.tools.notebooks.run import execute
from emote.tools.notebooks.source import read_source, with_parameters
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def run(name: str, **parameters: Any) -> Any:
    notebook = with_parameters(read_source(name), parameters)
    execute(notebook)
    return notebook


def printed(notebook: Any) -> str:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(output.text for cell in cells for output in cell.outputs if output.output_type == "stream")


def images(notebook: Any) -> int:
    found = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    return sum(any(kind.startswith("image/") for kind in output.data) for output in found)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drive")


@pytest.fixture(scope="module")
def trained(output: Path) -> Any:
    """The Colab notebook after a run of twenty steps."""
    return run("train_colab", FOLDER=str(ROOT), OUTPUT=str(output), RECIPE="experiment=smoke", ON_COLAB=False)


def test_the_colab_notebook_trains_goes_on_and_shows_what_it_made(trained: Any, output: Path) -> None:
    text = printed(trained)
    assert "trained to step 20" in text
    assert "finished already: step 20" in text  # the same command again
    assert re.search(r"held-out loss: 0\.\d{4} of the base model, 0\.\d{4} after 20 steps", text)
    assert "nothing was pushed" in text
    assert images(trained) == 2
    assert len([*(output / "runs").glob("smoke-*/steps/000020/summary.json")]) == 1


def test_the_inference_notebook_draws_with_the_newest_run(trained: Any, output: Path) -> None:
    notebook = run("inference", RUNS=str(output / "runs"), STEPS=2)
    text = printed(notebook)
    assert re.search(r"smoke-[0-9a-f]+/20 on weights/mini", text)
    assert "a prompt: An emoji of grinning face, openmoji style" in text
    assert "<lora:smoke:0.7>" in text
    assert images(notebook) == 5


def test_every_station_inside_stable_diffusion_shows_its_fact() -> None:
    notebook = run("inside_stable_diffusion", STEPS=6, TRAIN_STEPS=20, LOOP_STEPS=5)
    text = printed(notebook)
    assert "12 times fewer" in text
    assert "cat | face" in text
    assert "largest difference of a pixel: 0 of 255" in text  # its own loop draws what emote draws
    before, after = map(float, re.findall(r"held-out loss: ([\d.]+) before, ([\d.]+) after", text)[0])
    assert after < before
    in_bf16, in_float32 = map(float, re.findall(r"of A, ([\d.]+)% never moved in bf16, ([\d.]+)% in", text)[0])
    assert in_bf16 > 85 and in_float32 < 1  # 90.6 % of the published adapter
    assert images(notebook) == 12
