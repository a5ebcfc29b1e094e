from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from emote.imaging.sheet import CELL, GAP, before_after_sheet, enlarge, font, image_sheet, variants_sheet, wrap

RED, BLUE = (255, 0, 0), (0, 0, 255)
AWKWARD = [
    "",
    "   ",
    "cat",
    "a cat with a red hat and a very small umbrella on a rainy day in the old town",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "short Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft short again",
    "x" * 5000,
    "word " * 2000,
    "🧑🏽‍🚀🏳️‍🌈👩‍👩‍👧‍👦 " * 20,
    "قطة تحمل مظلة حمراء صغيرة في يوم ممطر " * 5,
    "חתול אדום " * 20,
    "e\u0301" * 300,
    "…" * 100,
    "two\nlines\tand a tab",
]


def width(text: str, size: int = 13) -> float:
    return font(size).getlength(text)


def count(image: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(image) == colour).all(axis=-1).sum())


def sheet(pairs: int, label: str = "a cat", title: str = "step 10") -> Image.Image:
    base, tuned = Image.new("RGB", (32, 32), RED), Image.new("RGB", (64, 64), BLUE)
    return before_after_sheet([base] * pairs, [tuned] * pairs, [label] * pairs, list(range(pairs)), title)


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_no_line_is_wider_than_its_room(text: str) -> None:
    for room in (20, 90, 144, 292):
        for lines in (1, 2, 5):
            wrapped = wrap(text, room, 13, lines)
            assert 1 <= len(wrapped) <= lines
            assert all(width(line) <= room for line in wrapped)


def test_what_fits_is_kept_word_for_word() -> None:
    text = "a cat with a red hat"
    assert wrap(text, 1000, 13, 1) == [text]
    broken = wrap(text, 60, 13, 9)
    assert len(broken) > 1 and " ".join(broken) == text


def test_what_does_not_fit_ends_in_one_ellipsis() -> None:
    for text in ("a cat with a red hat and a small umbrella", "x" * 200):
        (line,) = wrap(text, 90, 13, 1)
        assert line.endswith("…") and line.count("…") == 1 and text.startswith(line.rstrip(" …"))


def test_as_much_is_kept_as_there_is_room_for() -> None:
    (line,) = wrap("x" * 200, 90, 13, 1)
    assert width("x" + line) > 90


@pytest.mark.parametrize(("pairs", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 4, 1), (5, 4, 2), (12, 4, 3)])
def test_a_sheet_has_room_for_its_pairs_and_no_more(pairs: int, columns: int, rows: int) -> None:
    one, many = sheet(1), sheet(pairs)
    assert many.width == GAP + columns * (2 * CELL + 4 + GAP)
    row = sheet(5).height - sheet(4).height
    assert many.height == one.height + (rows - 1) * row
    assert row >= CELL


@pytest.mark.parametrize("pairs", [1, 4, 12])
def test_every_image_of_a_sheet_is_shown_whole(pairs: int) -> None:
    made = sheet(pairs)
    assert count(made, RED) == count(made, BLUE) == pairs * CELL * CELL


def test_the_base_model_is_on_the_left() -> None:
    pixels = np.asarray(sheet(1))
    red, blue = (pixels == RED).all(axis=-1), (pixels == BLUE).all(axis=-1)
    assert red.any(axis=0).nonzero()[0].max() < blue.any(axis=0).nonzero()[0].min()


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_any_prompt_can_stand_below_a_pair_without_covering_it(text: str) -> None:
    made = sheet(2, label=text, title=text)
    assert made.size == sheet(2).size
    assert count(made, RED) == count(made, BLUE) == 2 * CELL * CELL


def test_prompts_titles_and_seeds_are_written() -> None:
    assert sheet(1, label="a cat").tobytes() != sheet(1, label="a dog").tobytes()
    assert sheet(1, title="step 10").tobytes() != sheet(1, title="step 20").tobytes()


def test_images_need_as_many_as_there_are_labels() -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError):
        before_after_sheet([image] * 2, [image], ["a", "b"], [1, 2], "x")


@pytest.mark.parametrize(("images", "rows"), [(1, 1), (6, 1), (7, 2)])
def test_a_sheet_of_single_images_shows_each_whole(images: int, rows: int) -> None:
    made = image_sheet([Image.new("RGBA", (16, 16), (255, 0, 0, 255))] * images, ["", *AWKWARD][:images])
    assert made.width == GAP + 6 * (CELL + GAP)
    assert rows * CELL < made.height < rows * CELL * 1.5
    assert count(made, RED) == images * CELL * CELL


@pytest.mark.parametrize("many", [1, 2, 4])
def test_every_variant_has_a_column_of_its_own(many: int) -> None:
    colours = [(60 * i, 0, 255) for i in range(many)]
    variants = [[Image.new("RGB", (32, 32), colour)] * 3 for colour in colours]
    made = variants_sheet(variants, [f"scale {i}" for i in range(many)], ["a"] * 3, [1, 2, 3], "x", columns=2, cell=100)
    assert made.width == GAP + 2 * (many * 104 - 4 + GAP)
    assert [count(made, colour) for colour in colours] == [3 * 100 * 100] * many
    lefts = [int((np.asarray(made) == colour).all(axis=-1).any(axis=0).nonzero()[0].min()) for colour in colours]
    assert lefts == [GAP + i * 104 for i in range(many)]


def test_images_without_names_take_no_room_for_them() -> None:
    image = [[Image.new("RGB", (32, 32))]]
    named, bare = (variants_sheet(image, [name], ["a"], [1], "x") for name in ("base", ""))
    assert named.height - bare.height == 18


def test_images_keep_their_proportions() -> None:
    wide = enlarge(Image.new("RGB", (64, 32), RED), 100)
    assert wide.size == (100, 100) and count(wide, RED) == 100 * 50
    assert wide.getpixel((50, 10)) == (255, 255, 255)
    assert count(enlarge(Image.new("RGB", (3, 500), RED), 100), RED) == 100


def test_transparency_shows_a_checkerboard() -> None:
    clear = enlarge(Image.new("RGBA", (32, 32), (255, 0, 0, 0)))
    assert clear.mode == "RGB" and len(clear.getcolors() or []) == 2 and count(clear, RED) == 0
    assert count(enlarge(Image.new("RGBA", (32, 32), (255, 0, 0, 255))), RED) == CELL * CELL
