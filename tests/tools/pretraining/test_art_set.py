from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from emote.data.art import art_files
from emote.data.naming import concept_of
from emote.tools.pretraining import art_set
from emote.tools.pretraining.art_set import ArtSet, load_art, to_unit, write_caption

PLAIN = ["1F408", "1F600", "1F44D", "1F9D1-200D-1F680"]  # cat, grinning face, thumbs up, astronaut
TONES = ["1F44D-1F3FB", "1F44D-1F3FF", "1F9D1-1F3FD-200D-1F680"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The art sets have seven emoji each."""
    wanted = {*PLAIN, *TONES}

    def files(style: str) -> dict[str, Path]:
        return {code: path for code, path in art_files(style).items() if code in wanted}

    monkeypatch.setattr(art_set, "art_files", files)


@pytest.fixture
def art(few: None, tmp_path: Path) -> ArtSet:
    return load_art(tmp_path)


def captions(aliases: tuple[str, ...], count: int = 2000) -> Counter[str]:
    generator = torch.Generator().manual_seed(0)
    return Counter(write_caption("red apple", aliases, "openmoji", generator) for _ in range(count))


def test_an_emoji_is_asked_for_in_three_ways_with_their_shares() -> None:
    counts = captions(())
    bare, plain, styled = "red apple", "An emoji of red apple", "An emoji of red apple, openmoji style"
    assert set(counts) == {bare, plain, styled}
    for caption, share in ((bare, 0.2), (plain, 0.3), (styled, 0.5)):
        assert abs(counts[caption] / 2000 - share) < 0.04


def test_now_and_then_an_alias_stands_for_the_name() -> None:
    counts = captions(("apple", "fruit"))
    assert set(counts) == {
        form.format(name)
        for name in ("red apple", "apple", "fruit")
        for form in ("{}", "An emoji of {}", "An emoji of {}, openmoji style")
    }
    for alias in ("apple", "fruit"):
        used = sum(counts[form.format(alias)] for form in ("{}", "An emoji of {}", "An emoji of {}, openmoji style"))
        assert abs(used / 2000 - 0.1) < 0.03


def test_the_same_generator_writes_the_same_captions() -> None:
    assert captions(("apple",), 50) == captions(("apple",), 50)


def test_both_styles_are_loaded_in_order_with_their_names(art: ArtSet) -> None:
    assert art.style == ["openmoji"] * 7 + ["twemoji"] * 7
    assert art.names[:7] == art.names[7:] and {"cat", "thumbs up", "astronaut"} <= set(art.names)
    assert art.of_style("twemoji").tolist() == list(range(7, 14))
    assert art.aliases[art.names.index("thumbs up")] == ("thumbsup", "+1")


def test_skin_tones_together_weigh_less_than_an_emoji_without_one(art: ArtSet) -> None:
    weights = dict(zip(art.names, art.weight.tolist(), strict=True))
    toned = {name for name in weights if "skin tone" in name}
    assert len(toned) == 3
    assert all(weights[name] == pytest.approx(0.1 if name in toned else 1.0) for name in weights)


def test_images_are_over_white_and_over_a_plain_colour(art: ArtSet) -> None:
    for pixels in (art.pixels, art.coloured):
        assert pixels.shape == (14, 64, 64, 3) and pixels.dtype == np.uint8
    assert (art.pixels[:, 0, 0] == 255).all()
    assert len({tuple(corner) for corner in art.coloured[:, 0, 0].tolist()}) == 14
    assert all(len(np.unique(image.reshape(-1, 3), axis=0)) > 5 for image in art.pixels)


def test_all_images_of_a_concept_are_held_out_or_none(art: ArtSet) -> None:
    sides: dict[str, set[bool]] = {}
    for name, held_out in zip(art.names, art.held_out.tolist(), strict=True):
        sides.setdefault(concept_of(name), set()).add(held_out)
    assert all(len(side) == 1 for side in sides.values())
    assert 0 < int(art.held_out.sum()) < 14


def test_images_are_drawn_once_and_then_read_back(art: ArtSet, tmp_path: Path) -> None:
    [stored] = tmp_path.iterdir()
    again = load_art(tmp_path)
    assert np.array_equal(again.pixels, art.pixels) and np.array_equal(again.coloured, art.coloured)
    np.savez(stored, pixels=255 - art.pixels, coloured=art.coloured)
    assert np.array_equal(load_art(tmp_path).pixels, 255 - art.pixels)


def test_pixels_become_numbers_between_minus_one_and_one() -> None:
    pixels = np.array([[[[0, 255, 51]]]], dtype=np.uint8)
    assert to_unit(pixels).shape == (1, 3, 1, 1)
    assert to_unit(pixels).flatten().tolist() == pytest.approx([-1, 1, -0.6])
