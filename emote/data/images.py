"""Decode one picture of any kind and lay it out as the square that the model is trained on."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageOps

MAX_PIXELS = 64_000_000  # above it, a small file is more likely a decompression bomb than a drawing


class BadImage(ValueError):
    """A file that is no usable picture; the message says why, for the summary of what was skipped."""


@dataclass(frozen=True)
class Layout:
    """How a picture becomes a square: every field changes the pixels, so all are part of the cache key.

    resolution: side in pixels.  background: CSS colour under transparency and padding.
    fit: `pad` keeps the whole picture, `crop` keeps its centre.
    margin: None leaves the layout alone; a share m in [0, 0.5) crops to the figure's bounding box
    and leaves m of the side free around it, so that sets with different margins share one layout.
    """

    resolution: int
    background: str = "white"
    fit: str = "pad"
    margin: float | None = None


def is_svg(data: bytes) -> bool:
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"<") and b"<svg" in data[:8192]


def decode(data: bytes, svg_size_px: int) -> Image.Image:
    """Encoded bytes (SVG or anything Pillow opens; first frame) to an upright RGBA image.

    Raises BadImage for what is broken, empty, or larger than MAX_PIXELS.
    """
    if is_svg(data):
        import resvg_py

        try:
            data = bytes(resvg_py.svg_to_bytes(svg_string=data.decode("utf-8"), width=svg_size_px, skip_system_fonts=True))
        except (ValueError, UnicodeDecodeError) as error:
            raise BadImage(f"broken SVG ({error})") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"{image.width}×{image.height} pixels are over the limit of {MAX_PIXELS:,}")
        return _to_rgba(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on a damaged file
        raise BadImage(f"cannot be read ({type(error).__name__}: {error})") from error


def _to_rgba(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip these at 255
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I"):
            top = 65535.0 if values.max(initial=0) > 255 else 255.0
        else:
            top = 1.0 if values.max(initial=0) <= 1 else 255.0
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
    return image.convert("RGBA")


def figure_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Bounding box (left, top, right, bottom) of what is not background; None for an empty picture.

    Background is transparency where there is any, else the colour of the top left pixel.
    """
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] < 255:
        return alpha.point(lambda a: 255 if a > 8 else 0).getbbox()
    rgb = image.convert("RGB")
    plain = Image.new("RGB", rgb.size, rgb.getpixel((0, 0)))
    return ImageChops.difference(rgb, plain).convert("L").point(lambda d: 255 if d > 12 else 0).getbbox()


def lay_out(image: Image.Image, layout: Layout) -> Image.Image:
    """An RGBA image of any shape to an RGB square of `layout.resolution` pixels.

    Alpha is composited before resizing, so that edges do not pick up the colour of invisible pixels.
    Raises BadImage for a picture in which nothing is visible.
    """
    background = ImageColor.getrgb(layout.background)[:3]
    if layout.margin is not None:
        box = figure_box(image)
        if box is None:
            raise BadImage("nothing is visible: the whole picture is background")
        image = image.crop(box)
    elif image.getchannel("A").getextrema()[1] == 0:
        raise BadImage("nothing is visible: the whole picture is transparent")
    flat = Image.new("RGB", image.size, background)
    flat.paste(image, mask=image.getchannel("A"))

    side = layout.resolution
    if layout.margin is None and layout.fit == "crop":
        return ImageOps.fit(flat, (side, side), Image.Resampling.LANCZOS)
    inner = side - 2 * round((layout.margin or 0.0) * side)
    scale = inner / max(flat.size)
    size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
    square = Image.new("RGB", (side, side), background)
    resized = flat.resize(size, Image.Resampling.LANCZOS)
    square.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def to_pixels(data: bytes, layout: Layout, flip: bool = False) -> np.ndarray:
    """Encoded bytes to uint8 pixels [side, side, 3]. Raises BadImage."""
    # SVGs are drawn at twice the size: cropping to the figure would otherwise enlarge soft pixels
    image = lay_out(decode(data, svg_size_px=2 * layout.resolution), layout)
    return np.asarray(ImageOps.mirror(image) if flip else image)
