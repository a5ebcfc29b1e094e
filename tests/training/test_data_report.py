"""What a run says of its images, and that people's own sets train as they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from emote.commands.data.check import main as check
from tests.exports import EXPORTS, drawing, names

Runner = Callable[..., Path]


@pytest.mark.parametrize("kind", EXPORTS)
def test_exports_train_as_they_lie(kind: str, tiny_run: Runner, tmp_path: Path) -> None:
    make, caption = EXPORTS[kind]
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    words = {
        "data.source": "folder",
        "data.path": str(tmp_path / "set"),
        "data.caption": "'{text}'",
        "data.max_items": None,
    }
    run = tiny_run(**{"trainer.max_steps": 1, **words}).parent.parent
    report = (run / "data.txt").read_text()
    assert "data: 10 of " in report and f": {caption}\n" in report
    assert json.loads((run / "steps/000001/summary.json").read_text())["steps_run"] == 1
    assert Image.open(run / "data.png").size[0] > 500


def test_the_report_comes_before_anything_is_encoded_and_only_once(
    tiny_run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    names(tmp_path / "set")
    (tmp_path / "set/broken.png").write_bytes(b"x")
    words = {
        "data.source": "folder",
        "data.path": str(tmp_path / "set"),
        "data.caption": "'{text}'",
        "trainer.max_steps": 1,
    }
    path = tiny_run(**words)
    said = capsys.readouterr()
    assert "data: 10 of 11 images are used (1 skipped)" in said.out
    assert said.out.index("data: 10 of 11") < said.out.index("memory: ")
    assert "broken.png" in (path / "skipped.txt").read_text()
    tiny_run(**words)
    assert "finished already" in capsys.readouterr().out


def test_the_trigger_word_is_in_captions_prompts_and_the_record(tiny_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    names(tmp_path / "set")
    words = {"data.source": "folder", "data.path": str(tmp_path / "set"), "data.caption": "'{text}'",
             "data.trigger": "myblob", "data.captions": "names", "trainer.max_steps": 1}  # fmt: skip
    path = tiny_run(**words)
    assert "myblob, party cat" in (path.parent.parent / "data.txt").read_text()
    record = OmegaConf.load(path / "config.yaml")
    assert (record.data.trigger, record.data.caption) == ("myblob", "myblob, {text}")
    prompts = record.callbacks.samples.prompts
    assert len(prompts) > 0 and all(prompt.startswith("myblob, ") for prompt in prompts)


def test_check_says_what_a_run_would_say_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    names(tmp_path / "set")
    words = ["data=folder", f"data.path={tmp_path}/set", f"run.cache_dir={tmp_path}/cache", f"output={tmp_path}/out"]
    assert check([*words, "data.trigger=myblob"]) == 0
    assert "data: 10 of 10 images are used" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"set", "cache", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data.txt", "data.png"}
    assert "myblob, party cat" in (tmp_path / "out/data.txt").read_text()
    for number in range(12):
        (tmp_path / f"set/IMG_{number}.png").write_bytes(b"x" * (number + 1))
    assert check(words) == 1  # as a run would refuse
    said = capsys.readouterr()
    assert "data: 10 of 22 images are used" in said.out and "a run would stop here: 12 of 22" in said.err


def test_check_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["--help"]) == 0
    assert "emote data check data=folder data.path=my_images" in capsys.readouterr().out


def test_the_sheet_shows_the_odd_ones_first(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(60):
        drawing(number, 64).save(tmp_path / f"set/thing_{number}x{chr(97 + number % 26)}.png")
    Image.new("RGBA", (64, 64)).save(tmp_path / "set/white.webp", lossless=True)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "set/snow.png")
    check(["data=folder", f"data.path={tmp_path}/set", f"run.cache_dir={tmp_path}/cache", f"output={tmp_path}/out"])
    sheet = Image.open(tmp_path / "out/data.png").convert("RGB")
    assert sheet.getpixel((9, 60)) == (207, 34, 46)  # the first one's frame is the warning's red
    assert "blank: snow.png" in (tmp_path / "out/data.txt").read_text()
    assert "the whole image is transparent" in (tmp_path / "out/data.txt").read_text()
