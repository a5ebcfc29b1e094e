from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from emote.data.art import art_files
from emote.data.images import decode
from emote.imaging.cutout import cut_out
from emote.util.errors import ConfigError
from tests.conftest import ROOT

SIDE = 96
BLACK, WHITE, YELLOW, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 204, 77), (221, 46, 68), (59, 136, 195)


def paint(draw_on: Callable[[ImageDraw.ImageDraw], None], side: int = SIDE) -> Image.Image:
    """An antialiased RGBA drawing: made at eight times the size, colours multiplied by alpha while it shrinks."""
    large = Image.new("RGBA", (8 * side, 8 * side))
    draw_on(ImageDraw.Draw(large))
    return large.convert("RGBa").resize((side, side), Image.Resampling.BOX).convert("RGBA")


def scaled(*numbers: float) -> tuple[float, ...]:
    return tuple(8 * number for number in numbers)


def face(draw: ImageDraw.ImageDraw) -> None:
    """A yellow face with white eyes and teeth."""
    draw.ellipse(scaled(9.3, 10.6, 86.1, 87.9), YELLOW)
    for x in (28, 54):
        draw.ellipse(scaled(x, 30, x + 14, 46), WHITE)
        draw.ellipse(scaled(x + 5, 34, x + 10, 42), BLACK)
    draw.rectangle(scaled(32, 60, 64, 70), WHITE)


def jug(draw: ImageDraw.ImageDraw) -> None:
    """A blue jug with a red handle: a hole that shows the background."""
    draw.rectangle(scaled(10.4, 12, 56.3, 86), BLUE)
    draw.ellipse(scaled(44, 28, 88, 72), RED)
    draw.ellipse(scaled(53, 37, 79, 63), (0, 0, 0, 0))
    draw.rectangle(scaled(10.4, 12, 56.3, 86), BLUE)


def over(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    flat = Image.new("RGB", image.size, colour)
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def alpha(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel("A"), dtype=np.float64) / 255


def alpha_error(cut: Image.Image, truth: Image.Image) -> float:
    return float(np.abs(alpha(cut) - alpha(truth)).mean())


def halo(cut: Image.Image, truth: Image.Image) -> float:
    """The largest mean difference, over black, of pixels on the edge, in 255ths."""
    one, other = (np.asarray(over(image, BLACK), dtype=np.float64) for image in (cut, truth))
    edge = (alpha(truth) > 0) & (alpha(truth) < 1)
    return float(np.abs(one - other)[edge].mean())


def blurred(image: Image.Image, seed: int = 0) -> Image.Image:
    """Soft and noisy, as generated images are."""
    from scipy import ndimage

    pixels = ndimage.gaussian_filter(np.asarray(image, dtype=np.float64), (0.8, 0.8, 0))
    noise = np.random.default_rng(seed).normal(0, 1.5, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).round().astype(np.uint8))


@pytest.mark.parametrize("colour", [WHITE, BLACK, (0, 177, 64), (255, 0, 255), (128, 128, 128)])
@pytest.mark.parametrize("told", [True, False])
def test_an_edge_gets_its_share_of_transparency_and_no_halo(colour: tuple[int, int, int], told: bool) -> None:
    truth = paint(lambda draw: draw.ellipse(scaled(10.2, 14.7, 80.1, 77.3), RED))
    cut = cut_out(over(truth, colour), "#{:02x}{:02x}{:02x}".format(*colour) if told else "auto")
    assert cut.mode == "RGBA" and cut.size == truth.size
    assert alpha_error(cut, truth) < 0.0005
    assert np.abs(alpha(cut) - alpha(truth)).max() < 0.03
    assert halo(cut, truth) < 3


def test_thin_lines_keep_their_colour() -> None:
    truth = paint(lambda draw: draw.line(scaled(8, 20, 88, 70), BLUE, width=12))  # 1.5 px
    cut = cut_out(over(truth, WHITE))
    assert alpha_error(cut, truth) < 0.005
    assert halo(cut, truth) < 12


def test_white_eyes_and_teeth_stay() -> None:
    truth = paint(face)
    for image in (over(truth, WHITE), blurred(over(truth, WHITE))):
        cut = cut_out(image)
        assert alpha(cut)[38, 31] == alpha(cut)[65, 48] == 1
        assert alpha_error(cut, truth) < 0.01


def test_a_gap_between_two_parts_goes() -> None:
    truth = paint(jug)
    assert alpha(truth)[50, 66] == 0
    cut = cut_out(over(truth, WHITE))
    assert alpha(cut)[50, 66] == 0
    assert alpha_error(cut, truth) < 0.002


def test_what_is_white_stays_on_green_and_what_is_green_goes_even_inside() -> None:
    def ring(draw: ImageDraw.ImageDraw) -> None:
        draw.ellipse(scaled(8, 8, 88, 88), WHITE)
        draw.ellipse(scaled(38, 38, 58, 58), (0, 0, 0, 0))

    truth = paint(ring)
    cut = cut_out(over(truth, (0, 177, 64)))
    assert alpha(cut)[48, 48] == 0 and alpha(cut)[20, 48] == 1
    assert alpha_error(cut, truth) < 0.001


def test_soft_and_noisy_images_are_cut_out_too() -> None:
    truth = paint(face)
    for colour in (WHITE, (250, 252, 249), (0, 177, 64)):
        cut = cut_out(blurred(over(truth, colour)))
        assert alpha_error(cut, truth) < 0.01
        assert alpha(cut)[:6].max() == 0  # no specks are left


def test_the_background_is_found_though_the_figure_fills_most_of_the_rim() -> None:
    truth = paint(lambda draw: draw.rounded_rectangle(scaled(0, 0, SIDE, SIDE), 8 * 12, BLUE))
    assert alpha_error(cut_out(over(truth, WHITE)), truth) < 0.002
    standing = paint(lambda draw: draw.rectangle(scaled(0, 50, SIDE, SIDE), RED))  # both lower corners are the figure
    assert alpha_error(cut_out(over(standing, WHITE)), standing) < 0.001


def test_images_without_figure_or_without_background() -> None:
    assert alpha(cut_out(Image.new("RGB", (20, 20), WHITE))).max() == 0
    noise = Image.fromarray(np.random.default_rng(0).integers(250, 256, (64, 64, 3), dtype=np.uint8))
    assert alpha(cut_out(noise)).max() == 0
    assert alpha(cut_out(Image.new("RGB", (20, 20), BLUE), "white")).min() == 1
    anything = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    assert cut_out(anything).size == (48, 64)
    assert cut_out(Image.new("RGB", (1, 1), RED)).size == (1, 1)


def test_invisible_pixels_have_no_colour_that_could_bleed() -> None:
    cut = np.asarray(cut_out(over(paint(face), WHITE)))
    assert (cut[cut[..., 3] == 0] == 0).all()


def test_the_same_image_gives_the_same_bits() -> None:
    image = blurred(over(paint(jug), WHITE))
    assert cut_out(image).tobytes() == cut_out(image).tobytes()


def test_a_background_that_is_no_colour_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"background must be auto or a CSS colour such as white .*, got whit"):
        cut_out(Image.new("RGB", (8, 8)), "whit")


@pytest.mark.parametrize(
    ("style", "code"),
    [("openmoji", "1F916"), ("openmoji", "1F60A"), ("twemoji", "1F602"), ("twemoji", "1F98A"), ("twemoji", "1F440")],
)  # robot, smiling face, tears of joy, fox, eyes
def test_real_emoji_are_cut_out_as_they_were_drawn(style: str, code: str) -> None:
    truth = decode(art_files(style)[code].read_bytes(), svg_size_px=96)
    cut = cut_out(over(truth, WHITE))
    assert alpha_error(cut, truth) < 0.005
    assert halo(cut, truth) < 8


@pytest.mark.parametrize("code", ["1F98A", "1F34E"])  # fox, red apple
def test_what_the_miniatures_autoencoder_makes_of_emoji_is_cut_out(code: str) -> None:
    from emote.tools.cutout_eval.measure import autoencoder

    truth = decode(art_files("twemoji")[code].read_bytes(), svg_size_px=112)
    framed = Image.new("RGBA", (128, 128))
    framed.paste(truth, (8, 8))
    (image,) = autoencoder(ROOT / "weights" / "mini")([over(framed, WHITE)])
    assert alpha_error(cut_out(image), framed) < 0.02
