"""Words that make any experiment a matter of seconds: the tiny model, 24 images of one's own, 3 steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 discs, each in a colour of its own: reading them is faster than finding as many among thousands."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(24):
        image = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(image).ellipse((4, 4, 28, 28), fill=(number * 10, 255 - number * 10, number * 53 % 256))
        image.save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(f"disc {chr(ord('a') + number)}")
    return folder


@pytest.fixture(scope="session")
def tiny_words(tiny_sd: Path, cache: Path, images: Path) -> list[str]:
    """All but `experiment=` and `run.dir=`."""
    return [
        "twin=mini",
        f"model.path={tiny_sd}",
        "model.resolution=32",
        "data=folder",
        f"data.path={images}",
        "data.held_out=0.2",
        "trainer.max_steps=3",
        "trainer.batch_size=4",
        "callbacks.samples.prompts=[An emoji of cat]",
        "callbacks.samples.inference_steps=2",
        "callbacks.validation.timesteps=2",
        f"run.cache_dir={cache}",
    ]
