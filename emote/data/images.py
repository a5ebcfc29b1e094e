"""Decode one image of any kind and lay it out as the square that the model is trained on."""

from __future__ import annotations

import functools
import io
import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageOps, ImageStat, UnidentifiedImageError

MAX_PIXELS = 64_000_000  # above it, a small file is more likely a decompression bomb than a drawing

# What Pillow recognises but cannot draw by itself: EPS and WMF start other programs, the rest have no decoder.
NO_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# The limit below is stricter than the one Pillow warns at. Once and here: filters are global, so that a thread
# that changes them for one image could leave them changed for all.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class BadImage(ValueError):
    """A file that is no usable image; the message says why, for the summary of what was skipped."""


@dataclass(frozen=True)
class Layout:
    """How an image becomes a square: every field changes the pixels, so all are part of the cache key.

    resolution: side in pixels.  background: CSS colour under transparency and padding; or `random`, which the
    cache turns into colours (see `background.colours_of`) before it lays out.
    fit: `pad` keeps the whole image (or figure), `crop` fills the square and keeps the centre.
    margin: None leaves the layout alone; a share m in [0, 0.5) crops to the figure's bounding box
    and leaves m of the side free around it, so that sets with different margins share one layout.
    """

    resolution: int
    background: str = "white"
    fit: str = "pad"
    margin: float | None = None


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats of raster images that `decode` reads, as Pillow calls them, sorted."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - NO_IMAGES))


@functools.cache
def suffixes() -> frozenset[str]:
    """The file name suffixes, in lower case and with the dot, of what `decode` reads."""
    known = Image.registered_extensions()  # this one reads all plugins first
    return frozenset({".svg", *(suffix for suffix, name in known.items() if name in formats())})


def is_svg(data: bytes) -> bool:
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"<") and b"<svg" in data[:8192]


def decode(data: bytes, svg_size_px: int) -> Image.Image:
    """Encoded bytes (SVG or anything Pillow opens; first frame) to an upright RGBA image.

    Raises BadImage for what is broken, empty, or larger than MAX_PIXELS.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(_draw_svg(data, svg_size_px) if is_svg(data) else data), formats=formats())
        # the header states the size, and nothing that large has been allocated yet
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"{image.width}×{image.height} pixels are over the limit of {MAX_PIXELS:,}")
        image.load()
        return _to_rgba(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("no kind of image that can be read") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on a damaged file
        raise BadImage(f"cannot be read ({type(error).__name__}: {_one_line(error)})") from error


def _draw_svg(data: bytes, size_px: int) -> bytes:
    """An SVG as PNG bytes, as large as fits into size_px × size_px. Raises BadImage."""
    import resvg_py

    try:
        # both sides are given: with the width alone a drawing of 1 × 1,000,000 takes all memory.
        # 96 dots an inch is CSS's rule; the renderer's default of 0 refuses sizes in mm, as Inkscape writes them
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=data.decode("utf-8-sig"), width=size_px, height=size_px, dpi=96, skip_system_fonts=True
            )
        )
    except UnicodeDecodeError as error:
        raise BadImage("broken SVG (it is not UTF-8)") from error
    except (ValueError, OverflowError) as error:
        raise BadImage(f"broken SVG ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    # reasons are stored with the cache: the same image must give the same words, so no addresses of objects
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip these at 255
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16"):
            top = 65535.0
        elif image.mode == "I":  # older Pillows open 16-bit PNGs so
            top = 65535.0 if values.max(initial=0) > 255 else 255.0
        else:
            top = 1.0 if values.max(initial=0) <= 1 else 255.0
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
    return image.convert("RGBA")


def is_transparent(image: Image.Image) -> bool:
    """Whether a background shows through an RGBA image: one hundredth of it at least, so that a speck is none."""
    return ImageStat.Stat(image.getchannel("A")).mean[0] < 0.99 * 255


def figure_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Bounding box (left, top, right, bottom) of what is not background; None for an empty image.

    Background is transparency where there is any, else the colour of the top left pixel.
    """
    alpha = image.getchannel("A")
    lowest, _ = alpha.getextrema()
    if lowest != 255:
        return alpha.point(lambda a: 255 if a > 8 else 0).getbbox()
    rgb = image.convert("RGB")
    plain = Image.new("RGB", rgb.size, rgb.getpixel((0, 0)))
    # the largest of the three differences: by luminance, light blue on white would count as background
    red, green, blue = ImageChops.difference(rgb, plain).split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return largest.point(lambda d: 255 if d > 12 else 0).getbbox()


def lay_out(image: Image.Image, layout: Layout) -> Image.Image:
    """An RGBA image of any shape to an RGB square of `layout.resolution` pixels.

    Alpha is composited before resizing, so that edges do not pick up the colour of invisible pixels.
    Raises BadImage for an image in which nothing is visible.
    """
    background = ImageColor.getrgb(layout.background)[:3]
    if layout.margin is not None:
        box = figure_box(image)
        if box is None:
            raise BadImage("nothing is visible: the whole image is background")
        image = image.crop(box)
    elif image.getchannel("A").getextrema()[1] == 0:
        raise BadImage("nothing is visible: the whole image is transparent")
    flat = Image.new("RGB", image.size, background)
    flat.paste(image, mask=image.getchannel("A"))

    side = layout.resolution
    inner = side - 2 * round((layout.margin or 0.0) * side)
    if layout.fit == "crop":
        drawn = ImageOps.fit(flat, (inner, inner), Image.Resampling.LANCZOS)
    else:
        scale = inner / max(flat.size)
        size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
        drawn = flat.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), background)
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square


def decode_for(data: bytes, layout: Layout) -> Image.Image:
    """`decode`, as large as `lay_out` wants it. Raises BadImage."""
    # SVGs are drawn at twice the size: cropping to the figure would otherwise enlarge soft pixels
    return decode(data, svg_size_px=2 * layout.resolution)


def to_pixels(data: bytes, layout: Layout, flip: bool = False) -> np.ndarray:
    """Encoded bytes to uint8 pixels [side, side, 3]. Raises BadImage."""
    image = lay_out(decode_for(data, layout), layout)
    return np.asarray(ImageOps.mirror(image) if flip else image)
