from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from emote.config import Frame, Resample
from emote.data.images import BadImage, Layout, decode, to_pixels
from emote.data.item import PLAIN, Rendering, content_key
from emote.data.prepared import scan
from emote.data.rendering import is_animated, renderings
from tests.data.helpers import SVG, bytes_of, data_config, drawn, encoded


def frame(size: int, side: int = 64) -> Image.Image:
    """A red square of so many pixels on transparency."""
    image = Image.new("RGBA", (side, side))
    if size:
        ImageDraw.Draw(image).rectangle((side // 4, side // 4, side // 4 + size - 1, side // 4 + size - 1), fill="red")
    return image


def animated(*sizes: int, kind: str = "GIF") -> bytes:
    first, *rest = [frame(size) for size in sizes]
    buffer = io.BytesIO()
    options = {"GIF": {"disposal": 2}, "WEBP": {"lossless": True}, "PNG": {}}[kind]
    first.save(buffer, kind, save_all=True, append_images=rest, duration=50, **options)
    return buffer.getvalue()


def frames(data: bytes, how: Frame) -> list[int]:
    return [one.frame for one in renderings(data, how, Resample.auto, 64)]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_frame_that_shows_most_is_taken_where_the_first_shows_little(kind: str) -> None:
    data = animated(0, 10, 30, 20, kind=kind)
    assert is_animated(data)
    assert frames(data, Frame.best) == [2] and frames(data, Frame.first) == [0] and frames(data, Frame.middle) == [2]
    assert frames(data, Frame.all) == [1, 2, 3]
    red = to_pixels(data, Layout(64), rendering=Rendering(frame=2))
    assert (red[20:40, 20:40] == (255, 0, 0)).all()


def test_the_first_frame_is_kept_where_it_shows_enough() -> None:
    assert frames(animated(26, 30, 28), Frame.best) == [0]


def test_a_still_image_is_drawn_plainly() -> None:
    for data in (bytes_of(0, 64), SVG.encode(), b"broken", b"GIF89a", b"\x89PNG\r\n\x1a\nacTL IDAT"):
        assert renderings(data, Frame.best, Resample.auto, 64) == [PLAIN]


def sprite(side: int = 16) -> bytes:
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[::2, ::2] = 255
    return encoded(Image.fromarray(pixels))


def test_pixel_art_is_enlarged_without_blur() -> None:
    [rendering] = renderings(sprite(), Frame.best, Resample.auto, 100)
    assert rendering.nearest
    sharp = to_pixels(sprite(), Layout(96), rendering=rendering)
    assert set(np.unique(sharp)) == {0, 255}
    assert len(np.unique(to_pixels(sprite(), Layout(96)))) > 2
    # at a ratio that is not whole, only the seams are mixed
    assert (np.isin(to_pixels(sprite(), Layout(100), rendering=rendering), (0, 255))).mean() > 0.6


@pytest.mark.parametrize(
    ("data", "resample", "nearest"),
    [(sprite(), Resample.smooth, False), (bytes_of(0), Resample.auto, False), (bytes_of(0), Resample.nearest, True),
     (sprite(64), Resample.auto, False), (SVG.encode(), Resample.nearest, False)],
)  # fmt: skip
def test_what_is_enlarged_without_blur_is_a_key(data: bytes, resample: Resample, nearest: bool) -> None:
    assert [one.nearest for one in renderings(data, Frame.best, resample, 64)] == [nearest]


def test_only_what_is_drawn_otherwise_has_another_key(tmp_path: Path) -> None:
    for name, data in (("cat.png", bytes_of(0)), ("dog.gif", animated(26, 30)), ("fox.svg", SVG.encode())):
        (tmp_path / name).write_bytes(data)
    before = scan(data_config(path=tmp_path, frame=Frame.first, resample=Resample.smooth)).identity
    assert scan(data_config(path=tmp_path)).identity == before
    (tmp_path / "dog.gif").write_bytes(animated(0, 30))
    first = scan(data_config(path=tmp_path, frame=Frame.first))
    best = scan(data_config(path=tmp_path))
    assert first.identity != best.identity
    assert content_key(animated(0, 30)) in {entry.content for entry in first.entries}
    assert len({entry.content for entry in best.entries} - {entry.content for entry in first.entries}) == 1


TEXT_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><text y="30" font-size="30">OK</text></svg>'


def test_text_in_an_svg_is_drawn_with_the_machines_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    [rendering] = renderings(TEXT_SVG.encode(), Frame.best, Resample.auto, 64)
    assert rendering == Rendering(fonts=True)
    import resvg_py

    asked = []
    draw = resvg_py.svg_to_bytes

    def watched(**words: object) -> bytes:
        asked.append(words["skip_system_fonts"])
        return draw(**words)

    monkeypatch.setattr(resvg_py, "svg_to_bytes", watched)
    assert decode(TEXT_SVG.encode(), 64, rendering).getchannel("A").getextrema()[1] == 255
    decode(SVG.encode(), 64)
    assert asked == [False, True]


@pytest.mark.parametrize(
    "data",
    [gzip.compress(SVG.encode(), mtime=0), SVG.encode("utf-16"), SVG.encode("utf-16-le"),
     b"<!-- " + b"x" * 20_000 + b" -->" + SVG.encode(),
     b'<?xml version="1.0" encoding="iso-8859-1"?><!-- \xe9 -->' + SVG.encode()],
)  # fmt: skip
def test_odd_svgs_are_read(data: bytes) -> None:
    expected = to_pixels(SVG.encode(), Layout(16))
    [rendering] = renderings(data, Frame.best, Resample.auto, 16)
    assert np.array_equal(to_pixels(data, Layout(16), rendering=rendering), expected)


COMPRESSED = [gzip.compress(b"no drawing", mtime=0), gzip.compress(SVG.encode(), mtime=0)[:-20], b"\x1f\x8bxx"]


@pytest.mark.parametrize("data", COMPRESSED, ids=["not SVG", "cut short", "no stream"])
def test_compressed_files_that_are_no_svg_are_bad(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data, 16)


def test_photographs_over_the_limit_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    from emote.data import images

    monkeypatch.setattr(images, "MAX_PIXELS", 100 * 100)
    monkeypatch.setattr(images, "LARGEST", 400 * 400)
    for kind in ("PNG", "JPEG", "WEBP"):
        assert 16 <= max(decode(encoded(drawn(1, 150), kind), 16).size) <= 64
    with pytest.raises(BadImage, match="over the limit of 160,000; make it smaller"):
        decode(encoded(drawn(1, 500)), 16)
    bomb = encoded(Image.new("1", (390, 390)))
    with pytest.raises(BadImage, match="over the limit of 10,000; make it smaller"):
        decode(bomb, 16)
