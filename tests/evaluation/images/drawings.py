"""Images for tests: figures on white that nobody drew."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def blobs(count: int, side_px: int = 64, seed: int = 0, outline: bool = False) -> list[Image.Image]:
    """Discs and boxes at random places and in random colours, each image another; with black outlines if so."""
    random = np.random.default_rng(seed)
    return [_blob(random, side_px, outline) for _ in range(count)]


def _blob(random: np.random.Generator, side_px: int, outline: bool) -> Image.Image:
    image = Image.new("RGB", (side_px, side_px), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = random.uniform(0.2, 0.5, 2) * side_px
        size = random.uniform(0.15, 0.35) * side_px
        colour = tuple(int(v) for v in random.integers(0, 230, 3))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        width = max(1, side_px // 32)
        shape((x, y, x + size, y + size), fill=colour, outline="black" if outline else None, width=width)
    return image
