"""Decode one image of any kind and lay it out as the square that the model is trained on."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
import importlib
import io
import re
import threading
import warnings
import zlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageOps, ImageStat, UnidentifiedImageError

from emote.data.item import PLAIN, Rendering

MAX_PIXELS = 64_000_000  # above it, a small file is more likely a decompression bomb than a drawing
LARGEST = 4 * MAX_PIXELS  # of files that are large too, such as photographs: 1 GB while one is read
PIXELS_A_BYTE = 200  # a drawing may have more, a photograph never
PIXEL_ART_COLOURS, PIXEL_ART_PX = 32, 64
PLUGINS = (("pillow_heif", "register_heif_opener"), ("pillow_jxl", None))

# What Pillow recognises but cannot draw by itself: EPS and WMF start other programs, the rest have no decoder.
NO_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# The limit below is stricter than the one Pillow warns at. Once and here: filters are global, so that a thread
# that changes them for one image could leave them changed for all.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


_one_large_image = threading.Lock()


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
    """Return the formats of raster images that `decode` reads, as Pillow calls them, sorted."""
    Image.init()
    for module, register in PLUGINS:
        with contextlib.suppress(ImportError, OSError):
            plugin = importlib.import_module(module)
            if register:
                getattr(plugin, register)()
    return tuple(sorted(set(Image.OPEN) - NO_IMAGES))


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the file name suffixes, in lower case and with the dot, of what `decode` reads."""
    readable = formats()
    known = Image.registered_extensions()  # this one reads all plugins first
    return frozenset({".svg", ".svgz", *(suffix for suffix, name in known.items() if name in readable)})


def is_svg(data: bytes) -> bool:
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    return (head.startswith(b"<") and b"<svg" in data[:8192]) or is_odd_svg(data)


def is_odd_svg(data: bytes) -> bool:
    """Return whether it is an SVG that is compressed, no UTF-8, or begins with much else."""
    if data[:2] == b"\x1f\x8b":
        return True  # the only kind of image that is compressed so
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or data[:2] in (b"<\0", b"\0<"):
        return "<svg" in _text(data[:65536])
    return (
        data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
        and b"<svg" not in data[:8192]
        and bool(
            re.match(rb"\s*(?:<[?!][^>]*>\s*)*<svg\b", re.sub(rb"<!--.*?-->", b"", data[: 1 << 20], flags=re.DOTALL))
        )
    )


def svg_text(data: bytes) -> str:
    """Return the text of an SVG, also of a compressed one. Raises BadImage."""
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MAX_PIXELS)
            if b"<svg" not in data[: 1 << 20]:
                raise BadImage("a compressed file that holds no SVG")
        return _text(data)
    except UnicodeDecodeError as error:
        raise BadImage("broken SVG (it is not UTF-8)") from error
    except (OSError, EOFError, zlib.error, LookupError) as error:
        raise BadImage(f"broken SVG ({_one_line(error)})") from error


def _text(data: bytes) -> str:
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data[: len(data) & ~1].decode("utf-16")
    if data[:2] in (b"<\0", b"\0<"):
        return data[: len(data) & ~1].decode("utf-16-le" if data[:1] == b"<" else "utf-16-be")
    declared = re.match(rb"\s*<\?xml[^>]*encoding=[\"']([\w.-]+)", data[:200])
    return data.decode(declared[1].decode() if declared and declared[1].lower() != b"utf-8" else "utf-8-sig")


def decode(data: bytes, svg_size_px: int, rendering: Rendering = PLAIN) -> Image.Image:
    """Encoded bytes (SVG or anything Pillow opens) to an upright RGBA image: the first frame, or that of `rendering`.

    Images over MAX_PIXELS are made smaller as they are read, to about `svg_size_px`.
    Raises BadImage for what is broken, empty, or so large that it must be a mistake.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        source = _draw_svg(data, svg_size_px, rendering.fonts) if is_svg(data) else data
        image: Image.Image = Image.open(io.BytesIO(source), formats=formats())
        # the header states the size, and nothing that large has been allocated yet
        pixels = image.width * image.height
        if pixels > LARGEST or pixels > max(MAX_PIXELS, PIXELS_A_BYTE * len(data)):
            limit = LARGEST if pixels > LARGEST else MAX_PIXELS
            raise BadImage(f"{image.width}×{image.height} pixels are over the limit of {limit:,}; make it smaller")
        if rendering.frame:
            image.seek(rendering.frame)
        if pixels <= MAX_PIXELS:
            image.load()
        else:
            image = _load_reduced(image, svg_size_px)
        return _to_rgba(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("no kind of image that can be read") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on a damaged file
        raise BadImage(f"cannot be read ({type(error).__name__}: {_one_line(error)})") from error


def _load_reduced(image: Image.Image, size_px: int) -> Image.Image:
    orientation = image.getexif()
    with _one_large_image:  # threads decode side by side, and memory is for one
        image.draft("RGB", (size_px, size_px))
        image.load()
        small = (image if image.mode in ("L", "RGB", "RGBA", "LA") else image.convert("RGBA")).reduce(
            max(1, max(image.size) // (2 * size_px))
        )
    small.info["exif"] = orientation.tobytes() if orientation else b""
    return small


def _draw_svg(data: bytes, size_px: int, fonts: bool = False) -> bytes:
    """An SVG as PNG bytes, as large as fits into size_px × size_px. Raises BadImage. fonts: the machine's."""
    import resvg_py

    try:
        # both sides are given: with the width alone a drawing of 1 × 1,000,000 takes all memory.
        # 96 dots an inch is CSS's rule; the renderer's default of 0 refuses sizes in mm, as Inkscape writes them
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg_text(data),
                width=size_px,
                height=size_px,
                dpi=96,
                skip_system_fonts=not fonts,
                **(_fallback_fonts() if fonts else {}),
            )
        )
    except BadImage:
        raise
    except (ValueError, OverflowError) as error:
        raise BadImage(f"broken SVG ({_one_line(error)})") from error


def _fallback_fonts() -> dict[str, Any]:
    """Matplotlib's DejaVu Sans, for text whose own font is not on this machine: the renderer would draw nothing."""
    spec = find_spec("matplotlib")
    file = Path(spec.origin or "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec else None
    if file is None or not file.is_file():
        return {}
    kinds = ("font", "serif", "sans_serif", "cursive", "fantasy", "monospace")
    return {"font_files": [str(file)], **{f"{kind}_family": "DejaVu Sans" for kind in kinds}}


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
    """Return the bounding box (left, top, right, bottom) of what is not background; None for an empty image.

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


def is_pixel_art(image: Image.Image, resolution: int) -> bool:
    """Whether an image is so small, and has so few colours, that enlarging it smoothly would blur what was drawn."""
    is_small = max(image.size) <= min(PIXEL_ART_PX, resolution // 2)
    return is_small and image.getcolors(PIXEL_ART_COLOURS) is not None


def lay_out(image: Image.Image, layout: Layout, nearest: bool = False) -> Image.Image:
    """An RGBA image of any shape to an RGB square of `layout.resolution` pixels. nearest: it is enlarged without blur.

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
    if nearest and (factor := -(-inner // max(flat.size))) > 1:
        # whole squares first: what is then made smaller has sharp edges at any ratio
        flat = flat.resize((flat.width * factor, flat.height * factor), Image.Resampling.NEAREST)
    if layout.fit == "crop":
        drawn = ImageOps.fit(flat, (inner, inner), Image.Resampling.LANCZOS)
    else:
        scale = inner / max(flat.size)
        size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
        drawn = flat.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), background)
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square


def figure_of(image: Image.Image, layout: Layout, nearest: bool, side: int) -> np.ndarray:
    """Return how much of each of side × side cells an RGBA image covers once it is laid out, uint8 [side, side].

    255 is all of it, as everywhere for an image through which nothing shows. Raises BadImage as `lay_out`.
    """
    if not is_transparent(image):
        return np.full((side, side), 255, dtype=np.uint8)
    alpha, white = image.getchannel("A"), Image.new("L", image.size, 255)
    silhouette = Image.merge("RGBA", (white, white, white, alpha))
    square = lay_out(silhouette, replace(layout, background="black"), nearest).convert("L")
    return np.asarray(square.resize((side, side), Image.Resampling.BOX))


def decode_for(data: bytes, layout: Layout, rendering: Rendering = PLAIN) -> Image.Image:
    """Decode as `decode`, as large as `lay_out` needs it. Raises BadImage."""
    # SVGs are drawn at twice the size: cropping to the figure would otherwise enlarge soft pixels
    return decode(data, 2 * layout.resolution, rendering)


def to_pixels(data: bytes, layout: Layout, flip: bool = False, rendering: Rendering = PLAIN) -> np.ndarray:
    """Return encoded bytes as uint8 pixels [side, side, 3]. Raises BadImage."""
    image = lay_out(decode_for(data, layout, rendering), layout, rendering.nearest)
    return np.asarray(ImageOps.mirror(image) if flip else image)
