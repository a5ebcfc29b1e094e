from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from emote.cli.keywords import read_keywords
from emote.inference.png_metadata import save_png
from emote.packs.job import pack
from emote.packs.options import PackOptions
from emote.packs.platforms import Platform
from emote.util.errors import ConfigError
from tests.conftest import ROOT
from tests.packs.helpers import blob, manifest, packed_images


def on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def run(*words: str) -> int:
    return pack(read_keywords(PackOptions, list(words)))


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        run(*words)
    return str(caught.value)


def test_platforms_are_named_with_commas() -> None:
    assert read_keywords(PackOptions, ["platforms=slack,telegram"]).platforms == [Platform.slack, Platform.telegram]
    assert read_keywords(PackOptions, ["platforms=[discord]"]).platforms == [Platform.discord]
    assert read_keywords(PackOptions, []).platforms == list(Platform)


def test_the_miniature_makes_three_valid_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [
        "platforms=slack,discord,telegram",
        "prompts=[red apple, 🦊]",
        "n=2",
        "seed=3",
        "inference_steps=4",
        "guidance_scale=4",
        "device=cpu",
    ]
    assert run("model=mini", *words, f"output={out}", f"cache_dir={tmp_path}") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-4:] == [str(out / name) for name in ("contact-sheet.png", "slack.zip", "discord.zip", "telegram.zip")]
    assert len(list((out / "images").glob("*.png"))) == 4  # the drawings, to choose from
    for platform, kinds in (("slack", 1), ("discord", 1), ("telegram", 2)):
        found, told = packed_images(out / f"{platform}.zip"), manifest(out / f"{platform}.zip")
        assert len(found) == 4 * kinds
        names = [entry["name"] for entry in told["emoji"]]
        assert names == ["red_apple_emote", "red_apple_emote_2", "fox_emote", "fox_emote_2"]
        assert [entry["seed"] for entry in told["emoji"]] == [3, 4, 3, 4]
        assert {entry["model"] for entry in told["emoji"]} == {"weights/mini"}
        assert {entry["licence"] for entry in told["emoji"]} == {"CC BY 4.0 (the miniature)"}
        for name, (data, image) in found.items():
            assert len(data) < {"slack": 128_000, "discord": 256_000, "telegram": 512_000}[platform]
            side = 512 if name.startswith("stickers") else 100 if platform == "telegram" else 128
            assert max(image.size) == side
            assert image.convert("RGBA").getchannel("A").getextrema()[0] == 0


def test_a_folder_of_images_is_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    blob().save(images / "happy_blob.png")  # cut out already
    on_white(blob(colour="#3b88c3")).save(images / "blue.webp", lossless=True)
    text = "a green blob <lora:mine:1>\nSteps: 25, Sampler: DPM++ 2M, CFG scale: 4, Seed: 11, Size: 64x64, Model: mini"
    save_png(on_white(blob(colour="#77b255")), images / "b.png", text)
    (images / "notes.txt").write_text("no image")
    assert run(f"images={images}", "platforms=slack", f"output={out}", "licence=mine") == 0
    told = manifest(out / "slack.zip")["emoji"]
    assert [(entry["name"], entry["seed"], entry["licence"]) for entry in told] == [
        ("green_blob", 11, "mine"), ("blue", None, "mine"), ("happy_blob", None, "mine"),
    ]  # fmt: skip
    for _, image in packed_images(out / "slack.zip").values():
        assert image.convert("RGBA").getpixel((0, 0)) == (0, 0, 0, 0)
        assert image.convert("RGBA").getpixel((64, 64))[3] == 255  # type: ignore[index]


def test_images_that_are_all_background_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    Image.new("RGB", (64, 64), "white").save(images / "empty.png")
    assert "no image to pack" in refusal(f"images={images}", f"output={out}")
    assert not out.exists()
    on_white(blob()).save(images / "blob.png")
    assert run(f"images={images}", "platforms=slack", f"output={out}") == 1
    assert "warning: empty.png is left out: nothing is visible" in capsys.readouterr().out
    assert len(packed_images(out / "slack.zip")) == 1


def test_a_image_without_plain_background_is_packed_as_it_is_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), "red").save(images / "red.png")
    assert run(f"images={images}", "platforms=slack", "background=white", f"output={tmp_path / 'out'}") == 1
    assert "red.png has no plain background" in capsys.readouterr().out


def test_prompts_come_from_a_file_or_from_the_run(tmp_path: Path, runs: Path) -> None:
    ideas = tmp_path / "ideas.txt"
    ideas.write_text("# two\na dog\na hat\n")
    common = [
        "run=tiny",
        f"runs_dir={runs}",
        f"cache_dir={tmp_path}",
        "inference_steps=1",
        "platforms=slack",
        "device=cpu",
    ]
    # the tiny model draws noise, which has no plain background: 1 says so
    assert run(*common, f"prompts={ideas}", f"output={tmp_path / 'one'}") in (0, 1)
    assert [entry["prompt"] for entry in manifest(tmp_path / "one" / "slack.zip")["emoji"]] == ["a dog", "a hat"]
    assert run(*common, f"output={tmp_path / 'two'}") in (0, 1)
    (entry,) = manifest(tmp_path / "two" / "slack.zip")["emoji"]
    assert (entry["prompt"], entry["name"]) == ("cat", "cat_emote")
    assert "/20 on tiny_sd" in entry["model"]


def test_mistakes_are_told_before_anything_is_drawn(tmp_path: Path, runs: Path) -> None:
    where = f"runs_dir={runs}"
    assert "background must be auto or a CSS colour" in refusal("background=whit", where)
    assert "prompts=nothing.txt is not there" in refusal("prompts=nothing.txt", where)
    assert "prompts must say what to draw" in refusal("model=mini", where)
    assert "platforms must name one" in refusal("platforms=[]", where)
    assert "run=nope is not a run" in refusal("run=nope", "prompts=a cat", where)
    assert "images must be a folder with images" in refusal(f"images={tmp_path}/none")
    assert "has no images" in refusal(f"images={tmp_path}")
    assert "n, inference_steps say nothing beside images=" in refusal(f"images={tmp_path}", "n=2", "inference_steps=9")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    assert "broken.png" in refusal(f"images={tmp_path}")


def test_packs_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    on_white(blob()).save(images / "blob.png")
    assert run(f"images={images}", "platforms=slack", f"output={out}") == 0
    assert "has slack.zip already" in refusal(f"images={images}", "platforms=slack", f"output={out}")


def test_the_script_explains_itself_without_waiting_for_torch() -> None:
    code = (
        "import sys\nfrom emote.__main__ import main\n"
        "print(main(['pack', '--help']), sorted({'torch', 'scipy', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("Make packs of emoji") and "[slack, discord, telegram]" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
