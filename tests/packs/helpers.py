"""Cut-out images and packs to look into."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from emote.packs.pack import PackItem


def blob(width: int = 64, height: int = 64, colour: str = "#dd2e44") -> Image.Image:
    """An ellipse with soft edges in the middle of a transparent image."""
    large = Image.new("RGBA", (4 * width, 4 * height))
    ImageDraw.Draw(large).ellipse((width, height, 3 * width, 3 * height), colour)
    return large.resize((width, height), Image.Resampling.BOX)


def noise(side: int, seed: int = 0) -> Image.Image:
    """What no compression makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 4), dtype=np.uint8)
    pixels[..., 3] |= 16  # all of it visible
    return Image.fromarray(pixels, "RGBA")


def item(prompt: str = "a fox", image: Image.Image | None = None, seed: int | None = 7) -> PackItem:
    return PackItem(prompt, seed, image or blob(), "tiny/20 on mini", "CC BY-SA 4.0")


def manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return dict(json.loads(archive.read("manifest.json")))


def packed_images(path: Path) -> dict[str, tuple[bytes, Image.Image]]:
    """The emoji in a pack: file name to bytes and image."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            if "/" in name:
                data = archive.read(name)
                with Image.open(io.BytesIO(data)) as opened:
                    opened.load()
                    found[name] = data, opened
    return found
