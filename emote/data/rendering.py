"""How each image of a set is drawn: which frame of an animated one, how small ones are enlarged, text in an SVG."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image, ImageChops

from emote.config import Frame, Resample
from emote.data.images import MAX_PIXELS, PIXEL_ART_PX, BadImage, formats, is_odd_svg, is_pixel_art, is_svg, svg_text
from emote.data.item import PLAIN, Rendering

MOST_FRAMES = 120  # of an animated image, that are looked at
SHOWS_LITTLE = 0.5  # of what the fullest frame shows
SMALL_PX = 64


def renderings(data: bytes, frame: Frame, resample: Resample, resolution: int) -> list[Rendering]:
    """Return how the encoded image is drawn, once for each frame that is used; plainly where it cannot be read."""
    try:
        if is_svg(data):
            has_text = bool(re.search(r"<(?:\w+:)?text\b", svg_text(data)))
            return [Rendering(fonts=has_text, odd=is_odd_svg(data))]
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            odd = image.width * image.height > MAX_PIXELS
            frames = [0] if odd or not is_animated(data) else frames_of(image, frame)
            nearest = not odd and _is_enlarged_sharply(image, frames[0], resample, resolution)
            return [Rendering(number, nearest, odd=odd) for number in frames]
    except BadImage:
        return [PLAIN]
    except Exception:  # a damaged file: Pillow's plugins raise nearly anything, and decoding says what it is
        return [PLAIN]


def is_animated(data: bytes) -> bool:
    """Return whether the bytes can hold more than one frame, by their header alone."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data[12:16] == b"VP8X" and bool(data[20] & 2)
    if data[:4] == b"\x89PNG":
        return 0 < data.find(b"acTL", 0, 4096) < data.find(b"IDAT")
    return data[:4] == b"GIF8" or data[4:12] == b"ftypavis"


def frames_of(image: Image.Image, how: Frame) -> list[int]:
    """Return the numbers of the frames of an open image that are trained on."""
    count = getattr(image, "n_frames", 1)
    if count == 1 or how is Frame.first:
        return [0]
    if how is Frame.middle:
        return [count // 2]
    shown: list[float] = []
    distinct: dict[bytes, int] = {}
    for number in range(min(count, MOST_FRAMES)):
        image.seek(number)
        small = image.convert("RGBA").resize((SMALL_PX, SMALL_PX), Image.Resampling.BOX)
        distinct.setdefault(small.tobytes(), number)
        shown.append(_shows(small))
    if how is Frame.all:
        return [number for number in distinct.values() if shown[number] > 0] or [0]
    fullest = max(range(len(shown)), key=shown.__getitem__)
    return [0 if shown[0] >= SHOWS_LITTLE * shown[fullest] else fullest]


def _shows(image: Image.Image) -> float:
    """How much of an RGBA image differs from its corner's colour over white, as a mean over all pixels."""
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    plain = Image.new("RGB", flat.size, flat.getpixel((0, 0)))
    return float(np.asarray(ImageChops.difference(flat, plain)).mean())


def _is_enlarged_sharply(image: Image.Image, frame: int, resample: Resample, resolution: int) -> bool:
    if resample is Resample.smooth or max(image.size) >= resolution:
        return False
    if resample is Resample.nearest:
        return True
    if max(image.size) > min(PIXEL_ART_PX, resolution // 2):
        return False
    image.seek(frame)
    return is_pixel_art(image.convert("RGBA"), resolution)
