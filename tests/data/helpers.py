"""Images, configurations and encoders for the tests of emote.data."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emote.config import DataConfig, Fit, Frame, OnBadItem, Resample
from emote.data.item import Item, Skipped
from emote.data.sources import open_source

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4">'
    '<rect x="1" y="1" width="2" height="2" fill="red"/></svg>'
)


def data_config(source: str = "folder", **values: Any) -> DataConfig:
    defaults: dict[str, Any] = {
        "path": None,
        "config": None,
        "revision": None,
        "split": "train",
        "image_column": "image",
        "text_column": "text",
        "captions": "auto",
        "caption": "{text}",
        "trigger": None,
        "repeats": "auto",
        "resolution": 16,
        "background": "white",
        "background_caption": ", on {a_colour} background",
        "fit": Fit.pad,
        "margin": None,
        "frame": Frame.best,
        "resample": Resample.auto,
        "flip": False,
        "held_out": 0.0,
        "max_items": None,
        "training_items": None,
        "on_bad_item": OnBadItem.skip,
        "licence": None,
    }
    values = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    return DataConfig(source=source, **{**defaults, **values})


def listed(data: DataConfig) -> tuple[list[Item], list[Skipped]]:
    """What a source holds: (items, skipped)."""
    found = open_source(data)
    return found.items, found.skipped


def drawn(number: int, side: int = 16) -> Image.Image:
    """Noise that is a function of `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bytes_of(number: int, side: int = 16) -> bytes:
    return encoded(drawn(number, side), compress_level=0)


def content_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def items_of(count: int, first: int = 0, side: int = 16) -> dict[str, Item]:
    """Generated images by their content hash; their bytes are generated at each read."""
    items = [Item(f"{n}.png", f"image {n}", f"{n}", partial(bytes_of, n, side)) for n in range(first, first + count)]
    return {content_of(item.read()): item for item in items}


def write_folder(directory: Path, count: int, first: int = 0) -> Path:
    """Captioned images, as kohya's scripts have them."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (directory / f"{number:03}.png").write_bytes(bytes_of(number))
        (directory / f"{number:03}.txt").write_text(f"image {number}")
    return directory


class CountingEncoder:
    """A small fixed convolution in the place of the VAE; counts its loads, calls and the sizes of its batches."""

    def __init__(self, before_call: Callable[[int], None] | None = None) -> None:
        self.loads = 0
        self.sizes: list[int] = []
        self.before_call = before_call or (lambda call: None)

    def load(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        self.loads += 1
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(8, 3, 4, 4, generator=generator)

        def encode(pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
            self.before_call(len(self.sizes))
            self.sizes.append(len(pixels_B3HW))
            assert pixels_B3HW.dtype == torch.float32 and pixels_B3HW.abs().max() <= 1
            mean, logvar = torch.nn.functional.conv2d(pixels_B3HW, weight, stride=4).chunk(2, dim=1)
            return mean, logvar

        return encode


class CountingTextEncoder:
    """Embeddings [B, 5, 3] that are a function of each caption; counts its loads and calls."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.loads = 0
        self.captions: list[list[str]] = []
        self.dtype = dtype

    def load(self) -> Callable[[list[str]], Tensor]:
        self.loads += 1

        def encode(captions: list[str]) -> Tensor:
            self.captions.append(captions)
            rows = [np.frombuffer(hashlib.sha256(c.encode()).digest()[:15], dtype=np.uint8) for c in captions]
            return torch.tensor(np.stack(rows)).reshape(-1, 5, 3).to(self.dtype)

        return encode
