from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from emote.data.images import BadImage, Layout, decode, figure_box, formats, lay_out, suffixes, to_pixels
from tests.data.helpers import SVG, drawn, encoded

WHITE, RED = (255, 255, 255), (255, 0, 0)


def rgba(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, 32))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_a_palette_keeps_its_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    pixels = rgba(encoded(image, transparency=0))
    assert pixels[0, 0, 3] == 0
    assert tuple(pixels[0, 1]) == (0, 0, 255, 255)


def test_a_palette_keeps_partial_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert [int(a) for a in rgba(encoded(image, transparency=b"\x40\xff"))[0, :, 3]] == [0x40, 255]


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(rgba(encoded(red, "TIFF"))[0, 0].astype(int) - (255, 0, 0, 255)).max() <= 2
    assert np.abs(rgba(encoded(red, "JPEG"))[8, 8].astype(int) - (255, 0, 0, 255)).max() <= 4


def test_16_bit_grey_keeps_its_scale() -> None:
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert [int(v) for v in rgba(encoded(image))[0, :, 0]] == [0, 128, 255]


def test_a_dark_16_bit_grey_stays_dark() -> None:
    image = Image.fromarray(np.array([[0, 200]], dtype=np.uint16))
    assert int(rgba(encoded(image, "TIFF"))[0, 1, 0]) == 1


def test_float_images_are_scaled_from_1() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert [int(v) for v in rgba(encoded(image, "TIFF"))[0, :, 0]] == [0, 128, 255]


def test_grey_with_alpha_keeps_both() -> None:
    pixels = rgba(encoded(Image.new("LA", (1, 1), (100, 50))))
    assert tuple(pixels[0, 0]) == (100, 100, 100, 50)


def test_one_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert [tuple(p) for p in rgba(encoded(image))[0]] == [(0, 0, 0, 255), (255, 255, 255, 255)]


@pytest.mark.parametrize("image", [Image.new("LAB", (4, 4), (128, 20, 20)), Image.new("I", (4, 4), 300)])
def test_rarer_modes_are_read(image: Image.Image) -> None:
    assert rgba(encoded(image, "TIFF")).shape == (4, 4, 4)


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert tuple(rgba(data)[0, 0]) == (255, 0, 0, 255)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert decode(encoded(image, exif=exif), 32).size == (2, 4)


def test_webp_keeps_transparency() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 2, 2))
    pixels = rgba(encoded(image, "WEBP", lossless=True, exact=True))
    assert tuple(pixels[0, 0]) == (0, 255, 0, 255) and pixels[3, 3, 3] == 0


def test_svg_is_drawn_with_transparency() -> None:
    image = decode(SVG.encode(), 32)
    assert image.size == (32, 32)
    assert image.getpixel((16, 16)) == (255, 0, 0, 255)
    assert image.getpixel((1, 1))[3] == 0  # type: ignore[index]


def test_svg_sizes_in_millimetres_are_read() -> None:
    data = SVG.replace("viewBox", 'width="10mm" height="20mm" viewBox').encode()
    assert decode(data, 32).size == (16, 32)


def test_svg_with_a_byte_order_mark_and_a_prologue_is_read() -> None:
    assert decode(b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n' + SVG.encode(), 32).size == (32, 32)


def test_a_narrow_svg_takes_no_more_memory_than_a_square_one() -> None:
    data = SVG.replace("0 0 4 4", "0 0 1 100000000").encode()
    assert decode(data, 32).size == (1, 32)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image at all", "no kind of image that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "cannot be read|no kind of image"),
        (b"<svg", "broken SVG"),
        (b"<svg><g></svg>", "broken SVG"),
        (b"<svg \xff\xfe>", "broken SVG"),
        (encoded(drawn(0))[:300], "truncated"),
        (encoded(drawn(0, 64), "JPEG")[:700], "truncated"),
    ],
)
def test_a_broken_file_is_refused_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as error:
        decode(data, 32)
    assert "\n" not in str(error.value) and "at 0x" not in str(error.value)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_of_other_formats_is_refused(kind: str) -> None:
    data = encoded(drawn(0, 64), kind)
    with pytest.raises(BadImage):
        decode(data[: len(data) // 2], 32)


@pytest.mark.parametrize("side", [9000, 50_000])
def test_a_decompression_bomb_is_refused_before_it_takes_memory(side: int) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(BadImage, match=r"limit|exceeds"):
        decode(png_claiming(side, side), 32)
    assert process.memory_info().rss - before < 50e6


def test_postscript_is_never_run() -> None:
    assert "EPS" not in formats() and not {".eps", ".ps", ".mpg", ".h5"} & suffixes()
    with pytest.raises(BadImage):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", 32)


def test_usual_suffixes_are_known() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".svg", ".avif"} <= suffixes()


def test_alpha_is_composited_over_the_background() -> None:
    data = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert tuple(to_pixels(data, Layout(8, "#ff0000"))[4, 4]) == (127, 0, 0)


def test_invisible_colours_do_not_bleed_into_edges() -> None:
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # green where nothing is visible
    image.paste((255, 0, 0, 255), (16, 16, 48, 48))
    pixels = to_pixels(encoded(image), Layout(20))
    assert (pixels[..., 1] == pixels[..., 2]).all()  # white to red, without a trace of green


def test_a_margin_crops_to_the_figure() -> None:
    image = Image.new("RGBA", (100, 100))
    image.paste((255, 0, 0, 255), (10, 10, 30, 30))
    pixels = to_pixels(encoded(image), Layout(20, margin=0.1))
    figure = (pixels == RED).all(axis=-1)
    assert figure[2:18, 2:18].all() and figure.sum() == 16 * 16


def test_the_figure_is_found_on_an_opaque_background_whatever_its_colour() -> None:
    for colour in ((0, 0, 0), (255, 255, 200), (200, 255, 255)):
        image = Image.new("RGBA", (20, 20), (255, 255, 255, 255))
        image.paste((*colour, 255), (5, 6, 10, 12))
        assert figure_box(image) == (5, 6, 10, 12)


def test_pad_keeps_the_whole_image_and_crop_fills_the_square() -> None:
    image = Image.new("RGB", (40, 20), "red")
    padded = to_pixels(encoded(image), Layout(20, fit="pad"))
    cropped = to_pixels(encoded(image), Layout(20, fit="crop"))
    assert (padded[:4] == WHITE).all() and (padded[8:12] == RED).all()
    assert (cropped == RED).all()


def test_crop_fills_what_the_margin_leaves() -> None:
    image = Image.new("RGBA", (100, 100))
    image.paste((255, 0, 0, 255), (10, 10, 50, 20))
    figure = (to_pixels(encoded(image), Layout(20, fit="crop", margin=0.1)) == RED).all(axis=-1)
    assert figure[2:18, 2:18].all() and figure.sum() == 16 * 16


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1)])
@pytest.mark.parametrize("layout", [Layout(16), Layout(16, fit="crop"), Layout(16, margin=0.03)])
def test_thin_images_are_laid_out(size: tuple[int, int], layout: Layout) -> None:
    image = Image.new("RGBA", size, (255, 0, 0, 255))
    if layout.margin is not None:
        image.putpixel((0, 0), (0, 0, 255, 255))
        if size == (1, 1):
            return  # one pixel is all background
    assert to_pixels(encoded(image), layout).shape == (16, 16, 3)


@pytest.mark.parametrize("layout", [Layout(16), Layout(16, fit="crop"), Layout(16, margin=0.03)])
def test_a_fully_transparent_image_is_bad(layout: Layout) -> None:
    with pytest.raises(BadImage, match="nothing is visible"):
        lay_out(Image.new("RGBA", (8, 8)), layout)


def test_flip_mirrors_left_and_right() -> None:
    data = encoded(drawn(3))
    assert (to_pixels(data, Layout(16), flip=True) == to_pixels(data, Layout(16))[:, ::-1]).all()


def test_pixels_are_a_function_of_the_bytes() -> None:
    data = encoded(drawn(4, 50), "JPEG")
    assert (to_pixels(data, Layout(16)) == to_pixels(bytes(data), Layout(16))).all()
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (50, 50)
