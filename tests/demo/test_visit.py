from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from emote.demo.catalogue import Catalogue
from emote.demo.session import KEPT_AFTER_LEAVING_S, Drawing, Session, Sessions, file_name
from emote.inference.request import Request
from emote.util.errors import ConfigError

REQUEST = Request(prompt="An emoji of a fairy", seed=3, width=32, height=32)


def drawing(runs_dir: Path, colour: str = "red") -> Drawing:
    base, tuned = Image.new("RGB", (32, 32), "white"), Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(tuned).ellipse((6, 6, 25, 25), fill=colour)
    tuned.info["parameters"] = "how it was drawn"
    return Drawing("blue fox", REQUEST, Catalogue(runs_dir).first, base, tuned)


@pytest.fixture
def visit(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_files_are_of_what_is_shown_and_say_how_it_was_drawn(visit: Session, runs_dir: Path) -> None:
    visit.add(drawing(runs_dir))
    assert Image.open(visit.file(0, "tuned", False)).mode == "RGB"
    cut = Image.open(visit.file(0, "tuned", True))
    assert (cut.getchannel("A").getpixel((0, 0)), cut.getpixel((16, 16))) == (0, (255, 0, 0, 255))
    assert cut.info["parameters"] == "how it was drawn"
    assert Image.open(visit.file(0, "small", True)).size == (64, 64)


def test_the_same_drawing_is_in_the_pack_once_and_as_it_was_shown_last(visit: Session, runs_dir: Path) -> None:
    visit.add(drawing(runs_dir))
    visit.add_to_pack(0, transparent=True)
    visit.add_to_pack(0, transparent=False)
    (packed,) = visit.pack.values()
    assert packed.item.image.getchannel("A").getextrema() == (255, 255)
    assert (packed.item.prompt, packed.item.licence[:12]) == ("blue fox", "CC BY-SA 4.0")


def test_emoji_of_the_same_words_have_different_names(visit: Session, runs_dir: Path) -> None:
    for number in range(2):
        visit.add(drawing(runs_dir))
        visit.add_to_pack(number, transparent=True)
    assert visit.names() == ["blue_fox", "blue_fox_2"]
    visit.take_out(0)
    visit.take_out(5)  # a page that was slow
    assert visit.names() == ["blue_fox"]


def test_the_pack_is_a_zip(visit: Session, runs_dir: Path) -> None:
    with pytest.raises(ConfigError, match="the pack is empty"):
        visit.write_pack("slack")
    visit.add(drawing(runs_dir))
    visit.add_to_pack(0, transparent=True)
    for _ in range(2):
        with zipfile.ZipFile(visit.write_pack("telegram")) as pack:
            assert "stickers/blue_fox.png" in pack.namelist()


def test_a_image_of_nothing_is_shown_but_not_packed(visit: Session, runs_dir: Path) -> None:
    visit.add(drawing(runs_dir, "white"))
    assert visit.file(0, "small", True).exists()
    with pytest.raises(ConfigError, match="nothing is visible"):
        visit.add_to_pack(0, transparent=True)
    assert visit.pack == {}


def test_cancelling_reaches_the_drawing_that_is_under_way_and_not_the_next(visit: Session) -> None:
    first = visit.begin()
    visit.cancel()
    assert first.is_set() and not visit.begin().is_set()


def test_a_cancel_that_overtakes_its_drawing_stops_that_one_alone(visit: Session) -> None:
    before = visit.begin("before")
    visit.cancel("next")
    assert not before.is_set() and not visit.begin("another").is_set()
    assert visit.begin("next").is_set()
    visit.cancel("next")  # a second click
    assert not visit.begin("last").is_set()


def test_who_leaves_stops_drawing_and_is_forgotten_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("emote.demo.session.time.monotonic", lambda: now)
    visits = Sessions(tmp_path)
    gone, back = visits.of("gone"), visits.of("back")
    drawing_of_gone = gone.begin()
    visits.leave("gone")
    visits.leave("back")
    assert drawing_of_gone.is_set() and visits.of("back") is back
    now += KEPT_AFTER_LEAVING_S + 1
    visits.leave("nobody")
    assert not gone.folder.exists() and back.folder.exists()
    assert visits.of("gone") is not gone


def test_a_browser_that_comes_back_finds_what_it_made_and_others_do_not(tmp_path: Path) -> None:
    visits = Sessions(tmp_path)
    before = visits.of("before reload")
    assert visits.of("reloaded", before.token) is before
    drawing = before.begin()
    visits.leave("before reload")  # may be told after the new page has come
    assert not drawing.is_set()
    assert visits.of("other") is not before and visits.of("guess", "0" * 32) is not before
    assert visits.of("empty", "") is not before
    visits.leave("reloaded")
    assert drawing.is_set()


def test_a_name_that_is_typed_becomes_a_shortcode_and_an_empty_one_is_the_prompt_again(
    visit: Session, runs_dir: Path
) -> None:
    for number in range(2):
        visit.add(drawing(runs_dir))
        visit.add_to_pack(number, transparent=True)
    visit.rename(0, "Party <b>Blob</b>! " + "x" * 500)
    visit.rename(1, "smile")
    visit.rename(9, "nobody")
    first, second = visit.names()
    assert first.startswith("party_b_blob_b") and len(first) <= 32 and second == "smile_emote"
    with zipfile.ZipFile(visit.write_pack("slack")) as pack:
        assert f"emoji/{first}.png" in pack.namelist()
    visit.rename(0, "  ")
    assert visit.names() == ["blue_fox", "smile_emote"]


def test_saved_images_have_names_that_every_disk_takes() -> None:
    assert file_name("A Fairy/<b>", 7) == "a-fairy-b-7.png"
    assert file_name("قطة", 7, "base") == "image-7-base.png"
