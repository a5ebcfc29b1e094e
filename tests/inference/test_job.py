from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emote.cli.keywords import read_keywords
from emote.inference.job import generate
from emote.inference.options import Options
from emote.inference.png_metadata import read_parameters, save_png, text_of
from emote.util.errors import ConfigError
from tests.conftest import ROOT
from tests.inference.conftest import NAME


@pytest.fixture
def draw(runs: Path, tmp_path: Path) -> Any:
    """`draw("prompts=a cat", out="here")`: the script's words in, the folder out."""

    def go(*words: str, out: str = "out", code: int = 0) -> Path:
        common = [f"runs_dir={runs}", f"cache_dir={tmp_path}/cache", f"output={tmp_path / out}", "device=cpu"]
        steps = [] if any(word.startswith("from_image=") for word in words) else ["inference_steps=3"]
        assert generate(read_keywords(Options, [*common, *steps, *words])) == code
        return tmp_path / out

    return go


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(draw: Any, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        draw(*words)
    return str(caught.value)


def test_a_prompt_gives_images_and_a_sheet(draw: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = draw("run=tiny", "prompts=fox", "n=3", "seed=7")
    assert names(folder) == ["fox-seed7.png", "fox-seed8.png", "fox-seed9.png", "sheet.png"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{NAME}/20 on tiny_sd") and said[0].endswith(", float32 on cpu")
    assert said[1] == "3 steps of dpm++, guidance 4, seeds 7 to 9, 32×32 px"
    assert said[2] == "A fox, openmoji   (template=none takes 'fox' as typed)"
    assert said[3:] == [str(folder / name) for name in ("fox-seed7.png", "fox-seed8.png", "fox-seed9.png", "sheet.png")]
    told = read_parameters(folder / "fox-seed8.png")
    assert (told.request.prompt, told.request.seed, told.request.guidance_scale) == ("A fox, openmoji", 8, 4.0)
    assert told.run == f"{NAME}/20"


def test_the_same_words_give_identical_files(draw: Any) -> None:
    words = ("run=tiny", "prompts=fox", "n=4", "compare=true", "scheduler=euler_a")
    assert contents(draw(*words, out="first")) == contents(draw(*words, out="second"))


def test_batches_change_no_pixel_by_more_than_2(draw: Any) -> None:
    words = ("run=tiny", "prompts=fox", "n=5")
    one, four = draw(*words, "batch_size=1", out="one"), draw(*words, "batch_size=4", out="four")
    for name in names(one):
        if name != "sheet.png":
            pair = [np.asarray(Image.open(folder / name), dtype=int) for folder in (one, four)]
            assert np.abs(pair[0] - pair[1]).max() <= 2


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("setting", ["scheduler=euler_a", "lora_scale=0.3", "template=none", "guidance_scale=1"])
def test_from_image_repeats_a_image_bit_for_bit(
    draw: Any, capsys: pytest.CaptureFixture[str], batch: int, setting: str
) -> None:
    folder = draw("run=tiny", "prompts=fox", "negative_prompt=b: c", "n=3", f"batch_size={batch}", setting)
    for name in ("fox-seed0.png", "fox-seed2.png"):
        capsys.readouterr()
        again = draw(f"from_image={folder / name}", out=f"again-{name}")
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert names(again) == [name]
        assert capsys.readouterr().out.splitlines()[-1] == "the same image, bit for bit"


def test_from_image_repeats_what_the_base_model_drew(draw: Any, tiny_sd: Path) -> None:
    folder = draw("run=tiny", "prompts=fox", "n=1", "compare=true")
    # the model's folder is not written into images, so it must be said
    assert "set model=" in refused(draw, f"from_image={folder / 'fox-seed0-base.png'}")
    again = draw(f"from_image={folder / 'fox-seed0-base.png'}", f"model={tiny_sd}", out="again")
    assert contents(again)["fox-seed0-base.png"] == contents(folder)["fox-seed0-base.png"]


def test_from_image_says_where_it_is_not_the_same(
    draw: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, runs: Path
) -> None:
    file = draw("run=tiny", "prompts=fox", "n=1") / "fox-seed0.png"
    draw(f"from_image={file}", "run=tiny/10", out="other")
    said = capsys.readouterr().out
    assert f"note: {NAME}/10 is another adapter" in said and "not the same: up to" in said
    save_png(Image.open(file).resize((16, 16)), tmp_path / "small.png", text_of(file))
    draw(f"from_image={tmp_path / 'small.png'}", out="small")
    assert "was changed after it was drawn: it is 16×16 px" in capsys.readouterr().out


def test_from_image_finds_the_adapter_by_its_content(draw: Any, runs: Path, tmp_path: Path) -> None:
    file = draw("run=tiny", "prompts=fox", "n=1") / "fox-seed0.png"
    moved = tmp_path / "moved"
    shutil.copytree(runs / NAME, moved / "renamed-0000aaaa0000")
    again = draw(f"from_image={file}", f"runs_dir={moved}", out="again")
    assert np.array_equal(np.asarray(Image.open(again / file.name)), np.asarray(Image.open(file)))
    assert "set run=" in refused(draw, f"from_image={file}", f"runs_dir={tmp_path}")


def test_from_image_says_what_it_lacks(draw: Any, tmp_path: Path) -> None:
    text = "fox\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32"
    save_png(Image.new("RGB", (32, 32)), tmp_path / "plain.png", text)
    save_png(Image.new("RGB", (32, 32)), tmp_path / "named.png", f"{text}, Model: v1-5-pruned-emaonly")
    wanted = f"from_image={tmp_path / 'plain.png'}"
    assert refused(draw, wanted) == f"{wanted} does not say which base model drew it; set model="
    assert "drawn with v1-5-pruned-emaonly; set model=" in refused(draw, f"from_image={tmp_path / 'named.png'}")
    assert "drawn without an adapter; leave run= out" in refused(draw, wanted, "run=tiny")


def test_from_image_takes_no_other_settings(draw: Any, tmp_path: Path) -> None:
    text = refused(draw, "from_image=none.png", "inference_steps=4", "prompts=fox")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["prompts", "inference_steps", "there"]


def test_scales_are_columns_beside_the_base_model(draw: Any) -> None:
    folder = draw("run=tiny", "prompts=[fox, cat]", "n=2", "lora_scales=[0.5, 1]")
    assert len(names(folder)) == 2 * 2 * 3 + 1
    told = {name: read_parameters(folder / name).request for name in names(folder) if name.startswith("02-cat-seed1")}
    assert {name: request.lora_scale for name, request in told.items()} == {
        "02-cat-seed1-base.png": 0, "02-cat-seed1-scale-0.5.png": 0.5, "02-cat-seed1-scale-1.png": 1,
    }  # fmt: skip
    assert len({request.seed for request in told.values()}) == 1
    assert Image.open(folder / "sheet.png").width > Image.open(folder / "sheet.png").height


def test_prompts_come_from_the_line_and_from_a_file(draw: Any, tmp_path: Path) -> None:
    (tmp_path / "ideas.txt").write_text("# two\ncat, sitting\ncat: sitting\n")
    folder = draw("run=tiny", "prompts=fox", f"prompts={tmp_path / 'ideas.txt'}", "n=1")
    assert names(folder) == ["01-fox-seed0.png", "02-cat-sitting-seed0.png", "03-cat-sitting-seed0.png", "sheet.png"]


def test_the_base_model_draws_alone(draw: Any, tiny_sd: Path) -> None:
    for words in ([f"model={tiny_sd}"], ["run=base", f"model={tiny_sd}"]):
        folder = draw(*words, "prompts=fox", "n=1", "size=24x40", out=f"with{len(words)}")
        told = read_parameters(folder / "fox-seed0.png")
        assert (told.lora, told.request.prompt, told.request.guidance_scale) == ("", "fox", 7.5)
        assert Image.open(folder / "fox-seed0.png").size == (24, 40)


def test_what_is_there_stays(draw: Any) -> None:
    folder = draw("run=tiny", "prompts=fox", "n=1")
    before = contents(folder)
    assert "has fox-seed0.png already" in refused(draw, "run=tiny", "prompts=fox", "n=1", "seed=0", "inference_steps=9")
    assert contents(folder) == before
    draw("run=tiny", "prompts=fox", "n=1", "seed=1")
    assert names(folder) == ["fox-seed0.png", "fox-seed1.png"]


def test_all_mistakes_are_said_at_once_and_nothing_is_drawn(draw: Any, tmp_path: Path) -> None:
    text = refused(draw, "run=tiny", "prompts=<lora:a:1>", "size=30", "scheduler=eulr", "template=x", "prompts=no.txt")
    assert [line.split()[0].partition("=")[0] for line in text.splitlines()] == [
        "5", "template", "prompts", "prompt", "scheduler", "size",
    ]  # fmt: skip
    assert "prompts must say what to draw" in refused(draw, "run=tiny")
    assert "prompt must say what to draw" in refused(draw, "run=tiny", "prompts= ")
    assert "compare needs an adapter" in refused(draw, "run=base", "prompts=fox", "compare=true")
    assert "leave one out" in refused(draw, "run=tiny", "prompts=fox", "lora_scales=[1]", "lora_scale=2")
    assert "size must be a number" in refused(draw, "run=tiny", "prompts=fox", "size=big")
    assert "did you mean tiny?" in refused(draw, "run=tyny", "prompts=fox")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_base_is_refused(draw: Any) -> None:
    assert "made for another base model" in refused(draw, "run=tiny", "model=mini", "prompts=fox")


def test_words_that_were_cut_are_said(draw: Any, capsys: pytest.CaptureFixture[str]) -> None:
    draw("run=tiny", "prompts=a fox in a forest at night under many stars", "template=none", "n=1")
    assert "note: longer than the 30 tokens that the model reads; it was cut before: " in capsys.readouterr().out


def test_a_image_that_is_no_numbers_is_said_and_the_others_are_kept(
    draw: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw("run=tiny", "prompts=fox", "n=1", "lora_scales=[1, 1e30]", code=1)
    assert len(names(folder)) == 4
    assert "warning:" in capsys.readouterr().out.splitlines()[-1]


def test_transparent_images_have_an_alpha_channel_and_can_be_repeated(draw: Any) -> None:
    pytest.importorskip("emote.imaging.cutout")
    folder = draw("run=tiny", "prompts=fox", "n=1", "transparent=true")
    assert Image.open(folder / "fox-seed0.png").mode == "RGBA"
    again = draw(f"from_image={folder / 'fox-seed0.png'}", out="again")
    assert contents(again) == contents(folder)


@pytest.mark.slow
def test_the_script_keeps_its_promises_on_the_miniature(tmp_path: Path) -> None:
    def script(*words: str) -> str:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-m", "emote", "generate", "device=cpu", *words]
        done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ("model=mini", "prompts=An emoji of red heart", "n=4", "seed=7", "guidance_scale=4", "inference_steps=10")
    for folder, batch in (("first", 1), ("second", 1), ("four", 4)):
        script(*words, f"batch_size={batch}", f"output={folder}")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    for name in ("an-emoji-of-red-heart-seed7.png", "an-emoji-of-red-heart-seed10.png"):
        pair = [np.asarray(Image.open(tmp_path / folder / name), dtype=int) for folder in ("first", "four")]
        assert np.abs(pair[0] - pair[1]).max() <= 2
        assert "bit for bit" in script(f"from_image=four/{name}", "output=again")
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()
