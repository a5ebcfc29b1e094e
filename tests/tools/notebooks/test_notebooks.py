"""The three notebooks run from their first cell to their last on the miniature, so they cannot rot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image

from emote.tools.notebooks.run import execute
from emote.tools.notebooks.source import read_source, with_parameters
from tests.conftest import ROOT
from tests.hub_server import HubServer

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


STUBS = {  # what Colab has and this machine may not have: they write down how they were called
    "git": '[ "$1" = clone ] || exit 1; echo "git $*" >> "$CALLS"; ln -s "$EMOTE" "${@: -1}"',
    "pip": 'echo "pip $*" >> "$CALLS"',
    "nvidia-smi": 'echo "Tesla T4, 15360 MiB"',
    "google/colab/__init__.py": "",
    "google/colab/drive.py": "import os\n\ndef mount(path):\n    os.makedirs(path + '/MyDrive', exist_ok=True)\n",
    "google/colab/userdata.py": f"def get(name):\n    return {{'HF_TOKEN': {HubServer.TOKEN!r}}}[name]\n",
    "emote": """#!/usr/bin/env python
import signal, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "emote", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
for line in process.stdout:
    print(line, end="", flush=True)
    if "the demo is at" in line:  # it would serve for ever: somebody stops the cell
        process.send_signal(signal.SIGINT)
sys.exit(process.wait())
""",
}


def on_colab(book: Any, folder: Path, **variables: str) -> Any:
    """The notebook where Colab's commands come before others of the same name, in the kernel alone."""
    for name, text in STUBS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        is_python = name.endswith(".py") or text.startswith("#!")
        (folder / name).write_text(text if is_python else f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    before = (
        f"import os, sys\nsys.path.insert(0, {str(folder)!r})\n"
        f"os.environ |= {{'PATH': {str(folder)!r} + os.pathsep + os.environ['PATH'], 'EMOTE': {str(ROOT)!r}, "
        f"'CALLS': {str(folder / 'calls')!r}, 'PYTHONPATH': {str(ROOT)!r}, **{variables!r}}}"
    )
    book.cells.insert(0, nbformat.v4.new_code_cell(before))
    return book


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("content") / "my drive" / "MyDrive" / "out"


@pytest.fixture(scope="module")
def trained(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Colab notebook after a run of twenty steps, as Colab runs it: mounted, cloned, installed."""
    parameters = {
        "DRIVE": str(output.parents[1]), "OUTPUT": str(output), "FOLDER": str(output.parents[2] / "StableEmote"),
        "RECIPE": "experiment=smoke", "PROMPTS": ["a robot"],
    }  # fmt: skip
    book = on_colab(with_parameters(read_source("train_colab"), parameters), tmp_path_factory.mktemp("colab"))
    execute(book)
    return book


def test_the_colab_notebook_trains_goes_on_and_shows_what_it_made(trained: Any, output: Path) -> None:
    text = printed(trained)
    assert "trained to step 20" in text
    assert "finished already: step 20" in text  # the same command again
    assert re.search(r"held-out loss: 0\.\d{4} of the base model, 0\.\d{4} after 20 steps", text)
    assert "nothing was pushed" in text and "the page was not opened" in text
    assert "Tesla T4, 15360 MiB" in text and "IMAGES is empty" in text
    assert text.count("\n") < 120  # bars that cannot redraw are not drawn
    assert images(trained) == 3
    assert list((output / "packs").glob("**/*slack*.zip"))
    assert len([*(output / "runs").glob("smoke-*/steps/000020/summary.json")]) == 1


def test_the_colab_notebook_takes_ones_own_images_pushes_and_opens_the_page(tmp_path: Path) -> None:
    drive = tmp_path / "my drive"
    images = drive / "MyDrive" / "my emoji"
    for number, name in enumerate(("party_cat", "sad_cat", "red_heart", "robot", "sun", "moon", "fox", "owl")):
        (images / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (30 * number, 90, 200)).save(images / name / f"{name}.png")
    recipe = (
        "experiment=smoke trainer.max_steps=4 callbacks.checkpoint.every_steps=2 callbacks.samples.inference_steps=2"
    )
    parameters = {
        "DRIVE": str(drive), "OUTPUT": str(drive / "MyDrive" / "out"), "FOLDER": str(tmp_path / "StableEmote"),
        "RECIPE": recipe, "IMAGES": str(images), "TRIGGER": "myblob", "PROMPTS": ["myblob, a (happy) robot"],
        "HUB_REPO": "tester/style", "DEMO": True,
    }  # fmt: skip
    with HubServer() as hub:
        variables = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        book = on_colab(with_parameters(read_source("train_colab"), parameters), tmp_path / "colab", **variables)
        execute(book)
    text = printed(book)
    assert "8 of 8 images are used" in text and (drive / "MyDrive" / "out" / "data-check" / "data.png").is_file()
    assert "error" not in text
    assert "trained to step 4" in text and "finished already: step 4" in text
    assert list((drive / "MyDrive" / "out" / "packs").glob("**/*slack*.zip"))
    assert hub.repositories["tester/style"].private
    assert "pytorch_lora_weights.safetensors" in hub.repositories["tester/style"].files
    assert "the demo is at http://127.0.0.1:" in text and text.rstrip().endswith("stopped")


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
