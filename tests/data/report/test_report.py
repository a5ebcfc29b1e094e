from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from emote.config import OnBadItem, Resample
from emote.data.images import Layout
from emote.data.prepared import layout_of, scan
from emote.data.report.looks import Look, look_at, near_duplicates
from emote.data.report.report import Cut, Report, make_report
from tests.data.helpers import bytes_of, data_config, drawn, encoded


def icon(colour: str, side: int = 64, size: int = 40) -> bytes:
    image = Image.new("RGBA", (side, side))
    ImageDraw.Draw(image).ellipse((4, 4, 4 + size, 4 + size), fill=colour)
    return encoded(image)


def report_on(root: Path, cut: Cut | None = None, **values: Any) -> Report:
    data = data_config(path=root, resolution=64, **values)
    found = scan(data)
    looks = look_at({entry.content: entry.item for entry in found.entries}, layout_of(data), None)
    return make_report(found, data, looks, cut or Cut(75, {}))


def fill(root: Path, **images: bytes) -> Path:
    root.mkdir(exist_ok=True)
    for stem, data in images.items():
        (root / f"{stem}.png").write_bytes(data)
    return root


def advice(report: Report, word: str) -> str:
    found = [line for line in report.advice if word in line]
    assert len(found) == 1, report.advice
    return found[0]


def test_where_all_is_well_it_is_a_few_lines(tmp_path: Path) -> None:
    names = ("cat", "dog", "fox", "owl", "bee", "ant", "cow", "pig", "hen", "rat")
    fill(tmp_path, **{name: bytes_of(n, 64) for n, name in enumerate(names)})
    report = report_on(tmp_path, held_out=0.5)
    assert report.head == [
        "data: 10 of 10 images are used",
        "  sizes: 64×64 (10); trained at 64×64",
        '  captions: 10 from file names; 10 distinct, such as ' + report.head[2].partition("such as ")[2],
        "  held out for validation: 5 of 10 images, 5 of 10 concepts",
    ]  # fmt: skip
    assert report.advice == [] and not report.marks
    assert len(re.findall(r'"\w+"', report.head[2])) == 3


def test_white_on_white_is_blank_and_another_background_is_proposed(tmp_path: Path) -> None:
    fill(tmp_path, snow=icon("white"), sun=icon("yellow"))
    report = report_on(tmp_path)
    assert advice(report, "blank").startswith("1 images are blank white squares")
    assert "data.background=gray" in advice(report, "blank") and "snow.png" in advice(report, "blank")
    assert list(report.marks.values()) == [("blank",)]
    assert not any("blank" in line for line in report_on(tmp_path, background="gray").advice)
    assert not any("blank" in line for line in report_on(tmp_path, background="random").advice)


def test_tiny_and_very_long_images_are_named(tmp_path: Path) -> None:
    fill(tmp_path, speck=icon("red", 64, 8), small=encoded(drawn(1, 12)), line=encoded(drawn(2, 200).resize((400, 10))),
         good=icon("blue"))  # fmt: skip
    report = report_on(tmp_path, resample=Resample.smooth)
    assert advice(report, "quarter").startswith("2 images fill less than a quarter")
    assert "line.png" in advice(report, "eight times as long")
    assert advice(report_on(tmp_path, margin=0.05), "quarter").startswith("1 images")  # 12 pixels stay 12


def test_copies_and_near_duplicates_are_counted(tmp_path: Path) -> None:
    same = drawn(1, 64)
    other = Image.fromarray((np.asarray(same).astype(int) + 2).clip(0, 255).astype(np.uint8))
    fill(tmp_path, cat=encoded(same), kitten=encoded(same), puss=encoded(other), dog=bytes_of(9, 64))
    report = report_on(tmp_path)
    assert advice(report, "byte for byte").startswith("1 files hold the same image")
    assert advice(report, "nearly the same").startswith("2 images are nearly the same as another, in 1 groups")


def test_a_hundred_drawings_have_no_near_duplicates_by_chance() -> None:
    looks = {}
    for number in range(100):
        image = Image.new("RGB", (6, 6))
        image.putdata([tuple(map(int, row)) for row in np.random.default_rng(number).integers(0, 256, (36, 3))])
        looks[str(number)] = Look(64, 64, 1, False, False, False, image.tobytes())
    assert near_duplicates(looks, looks) == []
    looks["copy"] = looks["7"]
    assert near_duplicates(looks, looks) == [["7", "copy"]]


def test_cut_captions_are_counted_with_those_that_became_equal(tmp_path: Path) -> None:
    fill(tmp_path, x=bytes_of(0), y=bytes_of(1), z=bytes_of(2))
    for stem, text in (("x", "long red"), ("y", "long blue"), ("z", "short")):
        (tmp_path / f"{stem}.txt").write_text(text)
    report = report_on(tmp_path, Cut(75, {"long red": "long", "long blue": "long"}))
    said = advice(report, "longer than")
    assert said.startswith("2 captions are longer than the 75 tokens") and "2 of which became equal" in said
    assert "cut: x.png: read is only 'long'" in report.details


def test_why_nothing_is_held_out_is_said(tmp_path: Path) -> None:
    fill(tmp_path, **{f"x{n}": bytes_of(n) for n in range(5)})
    for n in range(5):
        (tmp_path / f"x{n}.txt").write_text("a myblob")
    report = report_on(tmp_path, held_out=0.2)
    assert "all are of one concept, 'a myblob'" in advice(report, "no image is held out")
    assert "all captions are the same" in advice(report, "same:")
    assert "  held out for validation: none (data.held_out=0)" in report_on(tmp_path).head


def test_few_held_out_concepts_are_said_to_show_nothing(tmp_path: Path) -> None:
    fill(tmp_path, **{name: bytes_of(n) for n, name in enumerate(("cat", "dog", "fox", "owl"))})
    assert "more images would" in advice(report_on(tmp_path, held_out=0.2), "too few concepts")
    names = [f"{colour}_{animal}" for colour in ("red", "blue", "green") for animal in ("bee", "ant", "cow", "pig")]
    fill(tmp_path, **{name: bytes_of(n + 4) for n, name in enumerate(names)})
    assert "data.held_out=0.32 keeps enough" in advice(report_on(tmp_path, held_out=0.1), "too few concepts")


def test_the_counts_add_up_and_skipped_ones_are_grouped(tmp_path: Path) -> None:
    fill(tmp_path, cat=bytes_of(0), dog=bytes_of(1), broken=b"no image", empty=b"", img_001=bytes_of(2))
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "cat.txt").write_text("a cat")
    report = report_on(tmp_path, on_bad_item=OnBadItem.skip_any)
    assert sum(report.files.values()) == 7
    assert report.files == {"used": 2, "skipped": 3, "captions in text files": 1, "other files (.md)": 1}
    assert report.head[0].startswith("data: 2 of 7 files are used (3 skipped, ")
    assert advice(report, "no kind of image").startswith("1 skipped")
    assert "1 images have no caption and are called by their names" in advice(report, "by their names")


def test_repeats_are_told(tmp_path: Path) -> None:
    fill(tmp_path / "set").mkdir(exist_ok=True)
    fill(tmp_path / "3_red cat", a=bytes_of(0))
    fill(tmp_path / "1_dog", b=bytes_of(1))
    report = report_on(tmp_path)
    assert "  repeats: 1 images 1×, 1 images 3×; data.repeats=none counts all once" in report.head


def test_what_was_left_out_by_max_items_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, cat=bytes_of(0), dog=bytes_of(1), fox=bytes_of(2))
    report = report_on(tmp_path, max_items=2)
    assert report.files == {"used": 2, "left out by data.max_items": 1}


def test_looking_is_done_once_for_a_set(tmp_path: Path) -> None:
    fill(tmp_path / "set", cat=bytes_of(0), broken=b"x")
    found = scan(data_config(path=tmp_path / "set"))
    items = {entry.content: entry.item for entry in found.entries}
    seen: list[None] = []
    first = look_at(items, Layout(16), tmp_path / "cache", lambda: seen.append(None))
    assert len(seen) == 2
    assert look_at(items, Layout(16), tmp_path / "cache", lambda: seen.append(None)) == first and len(seen) == 2
    [kept] = (tmp_path / "cache/looks").iterdir()
    kept.write_text("damaged")
    assert look_at(items, Layout(16), tmp_path / "cache") == first
    look_at(items, Layout(32), tmp_path / "cache", lambda: seen.append(None))
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("markup", "linked"), [('<image href="a.png"/>', True), ('<image href="data:image/png;base64,"/>', False)]
)
def test_svgs_that_link_files_are_named(tmp_path: Path, markup: str, linked: bool) -> None:
    (tmp_path / "cat.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path d="M0 0h2v2z"/>{markup}</svg>'
    )
    assert any("link other files" in line for line in report_on(tmp_path).advice) == linked
