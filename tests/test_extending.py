"""docs/extending.md: every block of it is run, from a package outside this repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from emote.config import METRIC, SCHEDULE, config_schema
from emote.util.registry import Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
TRAINED = [line for line in COMMANDS if line.startswith("python train.py ")]
# in one process, which imports everything once
DRIVER = """
import json, os, sys
from emote.cli.train import main
for words in json.load(open(sys.argv[1])):
    print("RUN", words, flush=True)
    code = main(words)
    print("CODE", code, flush=True)
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of the document, and the package installed as pip would record it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for kind, block in BLOCKS:
        if kind in ("python", "yaml", "toml"):
            file = folder / block.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
    (folder / "my_emote" / "__init__.py").write_text("")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = folder / "my_emote-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    lines = []
    for group, offered in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in offered.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def environment(elsewhere: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{elsewhere}", "OMP_NUM_THREADS": "1"}


def words_of(number: int, command: str, elsewhere: Path, tiny_sd: Path) -> list[str]:
    """What is typed, on the tests' tiny model."""
    typed = shlex.split(command)[2:]
    tiny = [
        f"model.path={tiny_sd}", "model.resolution=32", "trainer.max_steps=2", "trainer.batch_size=2",
        "trainer.accelerator=cpu", "callbacks.samples.prompts=[]", "callbacks.validation.every_steps=1",
        "callbacks.checkpoint.every_steps=2", f"run.dir={elsewhere}/runs/{number}", f"run.cache_dir={elsewhere}/cache",
    ]  # fmt: skip
    said = {word.split("=")[0] for word in typed}
    return [*typed, *(word for word in [*tiny, "data.max_items=12"] if word.split("=")[0] not in said)]


def test_every_command_of_the_document_trains(elsewhere: Path, tiny_sd: Path) -> None:
    assert len(TRAINED) >= 13
    asked = [words_of(number, command, elsewhere, tiny_sd) for number, command in enumerate(TRAINED)]
    (elsewhere / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "asked.json"],
        cwd=elsewhere, env=environment(elsewhere), capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    codes = [line for line in done.stdout.splitlines() if line.startswith("CODE")]
    assert codes == ["CODE 0"] * len(TRAINED), done.stdout[-6000:] + done.stderr[-6000:]
    names = [path.parent.parent.parent.name for path in elsewhere.glob("runs/*/*/steps/*/summary.json")]
    plain = max(names, key=names.count)  # what only logs or watches is no part of a run
    assert names.count(plain) == 3 and len(set(names)) == len(names) - 2
    assert list(elsewhere.glob("runs/*/*/lines.txt")) and list(elsewhere.glob("my_logs/**/metrics.csv"))
    logged = [line for file in elsewhere.glob("runs/*/*/lines.txt") for line in file.read_text().splitlines()]
    assert any("validation_worst" in line for line in logged)


def test_the_commands_that_draw_draw(elsewhere: Path) -> None:
    drawn = [line for line in COMMANDS if line.startswith("emote generate ")]
    checked = [line for line in COMMANDS if line.startswith("emote data check ")]
    assert len(drawn) == len(checked) == 1 and len(drawn) + len(checked) + len(TRAINED) == len(COMMANDS)
    command = [sys.executable, "-m", *shlex.split(drawn[0]), "output=drawn", "device=cpu"]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment(elsewhere), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(elsewhere.glob("drawn/**/*.png"))) >= 1


def test_the_words_of_images_come_from_another_package(elsewhere: Path) -> None:
    (elsewhere / "my_images").mkdir()
    for name in ("party_cat", "sad_dog", "red_apple"):
        Image.new("RGB", (40, 40), "red").save(elsewhere / "my_images" / f"{name}.png")
    (command,) = (line for line in COMMANDS if line.startswith("emote data check "))
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, cwd=elsewhere, env=environment(elsewhere), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "last words of names" in done.stdout and "party cat" not in done.stdout


def test_what_another_package_offers_is_explained_and_checked(elsewhere: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "train.py"), *words]
        return subprocess.run(
            command, cwd=elsewhere, env=environment(elsewhere), capture_output=True, text=True, timeout=300
        )

    shown = run("--help").stdout
    assert re.search(r"trainer\.options\.lion\.beta +0\.99 +decay of the momentum \[number ≥ 0, < 1\]", shown)
    refused = run("trainer.optimizer=lino", "trainer.options.lion.beta=1", "trainer.options.lion.beat=0.5")
    assert refused.returncode == 2
    assert "got lino; did you mean lion?" in refused.stderr
    assert "trainer.options.lion.beta must be below 1, got 1" in refused.stderr
    assert "unknown key trainer.options.lion.beat; did you mean trainer.options.lion.beta?" in refused.stderr


def test_every_kind_is_in_the_document_and_offered_there() -> None:
    kinds: set[Kind] = set()

    def collect(schema: type) -> None:
        for entry in fields(schema):
            if kind := entry.metadata.get("kind"):
                kinds.add(kind)
            elif isinstance(entry.default_factory, type):
                collect(entry.default_factory)

    collect(config_schema())
    assert {SCHEDULE, METRIC} < kinds
    for kind in kinds:
        assert f"`{kind.package.replace('.', '/')}` | `emote.{kind.name}` | `{kind.function}`" in TEXT
        assert f'[project.entry-points."emote.{kind.name}"]' in TEXT


@pytest.mark.parametrize(
    ("folder", "text", "shown"),
    [
        ("training/optimizers", '"""Does nothing."""\ndef build_optimizer(groups, config): ...\n', "trainer.optimizer"),
        (
            "data/sources",
            '"""Holds nothing."""\nCAPTION_FIELDS = ("text", "style")\ndef read_source(data): return [], []\n',
            "data.source",
        ),
        ("lora/variants", '"""Adds nothing."""\ndef peft_settings(lora): return {}\n', "lora.variant"),
    ],
)
def test_one_file_in_the_repository_adds_a_component(folder: str, text: str, shown: str, tmp_path: Path) -> None:
    copied = tmp_path / "emote"
    subprocess.run(["cp", "-r", str(ROOT / "emote"), str(ROOT / "conf"), str(tmp_path)], check=True)
    (copied / folder / "dummy.py").write_text(text)
    code = f"from emote.cli.train import compose_config; print(compose_config(['experiment=smoke', '{shown}=dummy']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "'dummy'" in done.stdout, done.stderr
