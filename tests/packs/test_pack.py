from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from emote.packs import pack
from emote.packs.pack import check_pack, write_pack
from emote.packs.platforms import KINDS, Platform
from emote.util.errors import ConfigError
from tests.packs.helpers import blob, item, manifest, noise, packed_images

PROMPTS = ["a red fox", "a red fox", "🧚", "قطة", "<b>bold</b>", "long " * 2000]


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packs")
    written = write_pack([item(prompt, blob(90, 40)) for prompt in PROMPTS], list(Platform), folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "contact-sheet.png", "discord.zip", "slack.zip", "telegram.zip",
    ]  # fmt: skip
    return {path.stem: path for path in written}


@pytest.mark.parametrize("platform", ["slack", "discord", "telegram"])
def test_images_are_within_what_the_platform_takes(packs: dict[str, Path], platform: str) -> None:
    limit = {"slack": 128_000, "discord": 256_000, "telegram": 512_000}[platform]
    found = packed_images(packs[platform])
    assert len(found) == len(PROMPTS) * (2 if platform == "telegram" else 1)
    for name, (data, image) in found.items():
        assert len(data) < limit and image.format == "PNG"
        if name.startswith("stickers/"):
            assert image.width == 512 > image.height
        else:
            assert image.size == ((100, 100) if platform == "telegram" else (128, 128))
        alpha = image.convert("RGBA").getchannel("A")
        assert alpha.getextrema() == (0, 255) and any(0 < a < 255 for a in alpha.get_flattened_data())
        assert re.fullmatch(r"(emoji|stickers)/[a-z0-9_]{2,32}\.png", name)


def test_the_manifest_says_where_every_image_is_from(packs: dict[str, Path]) -> None:
    told = manifest(packs["telegram"])
    assert told["platform"] == "telegram" and [entry["prompt"] for entry in told["emoji"]] == PROMPTS
    found = packed_images(packs["telegram"])
    for entry in told["emoji"]:
        assert (entry["seed"], entry["model"], entry["licence"]) == (7, "tiny/20 on mini", "CC BY-SA 4.0")
        for file in entry["files"]:
            data, image = found.pop(file["path"])
            assert file["sha256"] == hashlib.sha256(data).hexdigest() and file["bytes"] == len(data)
            assert (file["width"], file["height"]) == image.size
    assert found == {}


def test_the_contact_sheet_lies_inside_and_beside(packs: dict[str, Path]) -> None:
    beside = (packs["slack"].parent / "contact-sheet.png").read_bytes()
    with zipfile.ZipFile(packs["slack"]) as archive:
        assert archive.read("contact-sheet.png") == beside
    with Image.open(io.BytesIO(beside)) as sheet:
        sheet.load()
        assert sheet.mode == "RGB" and sheet.width > 600


def test_the_same_items_give_the_same_bytes(tmp_path: Path) -> None:
    one = write_pack([item("a fox"), item("a cat")], ["slack", Platform.telegram], tmp_path / "one")
    other = write_pack([item("a fox"), item("a cat")], ["slack", Platform.telegram], tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_zips_open_without_writing_outside_their_folder(packs: dict[str, Path]) -> None:
    with zipfile.ZipFile(packs["discord"]) as archive:
        for entry in archive.infolist():
            assert not Path(entry.filename).is_absolute() and ".." not in Path(entry.filename).parts
            assert entry.external_attr >> 16 == 0o644


def test_progress_counts_every_image_of_every_platform(tmp_path: Path) -> None:
    said: list[int] = []
    write_pack([item("a fox"), item("a cat")], ["slack", "discord"], tmp_path, on_image=said.append)
    assert said == [1, 2, 3, 4]


def refusal(*arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        write_pack(*arguments)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_cannot_be_packed_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    assert refusal([item()], ["slak"], folder) == (
        "for must be one of slack, discord, telegram, got slak; did you mean slack?"
    )
    assert "at least one image" in refusal([], ["slack"], folder)
    assert "at least one platform" in refusal([item()], [], folder)
    empty = item("an empty one", Image.new("RGBA", (64, 64)))
    assert refusal([item(), empty], ["slack"], folder) == (
        "empty_one: nothing is visible: the whole image is background"
    )
    many = refusal([item(str(i)) for i in range(121)], ["telegram"], folder)
    assert many == "telegram takes 120 stickers in a set, got 121: 1 too many; make several packs"
    assert not folder.exists()


def test_a_byte_limit_that_cannot_be_met_names_the_image_and_the_excess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(KINDS[Platform.slack][0], limit_bytes=300)
    monkeypatch.setitem(KINDS, Platform.slack, (small,))
    text = refusal([item("some noise", noise(128))], ["slack"], tmp_path / "packs")
    assert re.fullmatch(
        r"slack emoji/some_noise: 128×128 pixels in 16 colours take [\d,]+ bytes, which is [\d,]+ too many: "
        r"it must be below 300", text,
    )  # fmt: skip
    assert not (tmp_path / "packs").exists()


def test_what_was_written_is_held_against_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write_pack([item("a fox")], ["slack"], tmp_path)
    size = len(packed_images(path)["emoji/fox_emote.png"][0])
    stricter = replace(KINDS[Platform.slack][0], limit_bytes=size - 9, side_px=64)
    monkeypatch.setitem(pack.KINDS, Platform.slack, (stricter,))
    with pytest.raises(ConfigError) as caught:
        check_pack(path)
    assert f"must be below {size - 9:,} bytes, got {size:,}: 10 too many" in str(caught.value)
    assert "must be 64×64 pixels, got 128×128" in str(caught.value)
