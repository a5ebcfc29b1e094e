from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from emote.data.art import art_files
from emote.data.images import decode
from emote.imaging.fitting import fit, scale_to
from emote.util.errors import ConfigError
from tests.packs.helpers import blob


def visible_box(image: Image.Image) -> tuple[int, int, int, int]:
    box = image.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("size", [(64, 64), (200, 30), (30, 200), (9, 9), (700, 900)])
@pytest.mark.parametrize("side", [20, 100, 128])
def test_a_figure_fills_the_square_but_for_a_margin_and_stands_in_its_middle(size: tuple[int, int], side: int) -> None:
    square = fit(blob(*size), side, is_square=True)
    assert square.size == (side, side) and square.mode == "RGBA"
    left, top, right, bottom = visible_box(square)
    margin = round(side / 32)
    assert max(right - left, bottom - top) in range(side - 2 * margin - 2, side - 2 * margin + 1)
    assert abs(left - (side - right)) <= 2 and abs(top - (side - bottom)) <= 2


@pytest.mark.parametrize("size", [(64, 64), (200, 30), (30, 200), (2000, 4)])
def test_a_sticker_has_its_longer_side_exactly_and_no_margin(size: tuple[int, int]) -> None:
    image = Image.new("RGBA", size, "red")
    sticker = fit(image, 512, is_square=False)
    assert max(sticker.size) == 512
    assert sticker.width / sticker.height == pytest.approx(size[0] / size[1], rel=0.3)


def test_a_image_in_which_nothing_is_visible_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is visible"):
        fit(Image.new("RGBA", (64, 64), (255, 0, 0, 3)), 128, is_square=True)


@pytest.mark.parametrize("side", [16, 60, 64, 100, 512])
def test_invisible_colours_do_not_bleed_into_the_figure(side: int) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 1] = 255  # invisible green around
    pixels[16:48, 16:48] = (255, 0, 0, 255)
    scaled = np.asarray(scale_to(Image.fromarray(pixels, "RGBA"), (side, side)))
    assert scaled[scaled[..., 3] > 0][:, 1].max() <= 2


@pytest.mark.parametrize("style", ["openmoji", "twemoji"])
@pytest.mark.parametrize("side", [128, 512])
def test_enlarged_emoji_are_nearer_to_the_drawing_than_by_lanczos(style: str, side: int) -> None:
    data = art_files(style)["1F98A"].read_bytes()  # a fox
    small, truth = decode(data, svg_size_px=64), np.asarray(decode(data, svg_size_px=side).convert("RGBa"), np.float64)

    def error(image: Image.Image) -> float:
        return float(np.abs(np.asarray(image.convert("RGBa"), np.float64) - truth).mean())

    assert error(scale_to(small, (side, side))) < 0.6 * error(small.resize((side, side), Image.Resampling.LANCZOS))


def test_enlarging_adds_no_ringing() -> None:
    pixels = np.full((16, 16, 4), (100, 100, 100, 255), np.uint8)
    pixels[:, 8:] = (200, 200, 200, 255)
    scaled = np.asarray(scale_to(Image.fromarray(pixels, "RGBA"), (128, 128)))
    assert scaled[..., :3].min() >= 99 and scaled[..., :3].max() <= 201 and scaled[..., 3].min() == 255
