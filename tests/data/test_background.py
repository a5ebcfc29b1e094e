from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor
from safetensors import safe_open

from emote.data.background import COLOURS, PALETTE, WHITE, caption_over, colour_name, colours_of, is_white
from emote.data.cache import build_latents
from emote.data.images import Layout, decode, is_transparent
from emote.data.item import Item
from emote.data.prepared import Prepared, TrainingSet, prepare, scan
from tests.data.helpers import (
    SVG,
    CountingEncoder,
    CountingTextEncoder,
    bytes_of,
    content_of,
    data_config,
    encoded,
    items_of,
)

TEMPLATE = ", on {a_colour} background"


def figure(number: int) -> bytes:
    """A square on a transparent ground; its colour is a function of `number`."""
    image = Image.new("RGBA", (16, 16))
    image.paste((number, 100, 200, 255), (4, 4, 12, 12))
    return encoded(image)


class PaintEncoder(CountingEncoder):
    """Its "latents" are the pixels themselves."""

    def load(self) -> Any:
        self.loads += 1
        return lambda pixels_B3HW: (pixels_B3HW, torch.zeros_like(pixels_B3HW))


def corner(ready: Prepared, content: str, variant: int) -> tuple[int, ...]:
    """The colour of the top left pixel."""
    return tuple(((ready.latents.get(content, variant)[0][:, 0, 0] + 1) * 127.5).round().int().tolist())


def write(directory: Path, opaque: int = 3, transparent: int = 9) -> Path:
    directory.mkdir(parents=True)
    for number in range(opaque + transparent):
        data = bytes_of(number) if number < opaque else figure(number)
        (directory / f"{number:03}.png").write_bytes(data)
        (directory / f"{number:03}.txt").write_text(f"{'photo' if number < opaque else 'figure'} {number}")
    return directory


def prepared(path: Path, cache: Path, **values: Any) -> Prepared:
    data = data_config(path=path, **values)
    return prepare(
        scan(data),
        data,
        load_image_encoder=PaintEncoder().load,
        image_encoder_key="paint",
        load_text_encoder=CountingTextEncoder().load,
        text_encoder_key="text",
        cache_dir=cache,
        batch_size=4,
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Three opaque images and nine transparent ones, over random colours, mirrored too."""
    directory = tmp_path_factory.mktemp("mixed")
    return prepared(write(directory / "set"), directory / "cache", background="random", flip=True, held_out=0.25)


# Colours and their names


def test_a_fixed_background_is_one_colour() -> None:
    assert colours_of("teal", "a", transparent=True) == colours_of("teal", "b", transparent=False) == ("teal",)


def test_random_gives_white_first_and_then_distinct_colours_by_content() -> None:
    contents = [content_of(str(number).encode()) for number in range(200)]
    drawn = [colours_of("random", content, transparent=True) for content in contents]
    assert drawn == [colours_of("random", content, transparent=True) for content in contents]
    assert all(colours[0] == WHITE and len(set(colours)) == COLOURS == len(colours) for colours in drawn)
    counts = Counter(itertools.chain.from_iterable(colours[1:] for colours in drawn))
    assert set(counts) == set(PALETTE) and min(counts.values()) > 90  # 120 each on average


def test_opaque_images_are_padded_in_white_alone() -> None:
    assert colours_of("random", "a", transparent=False) == (WHITE,) * COLOURS


def test_the_palette_is_well_separated() -> None:
    pixels = [np.array(ImageColor.getrgb(name)) for name in (WHITE, *PALETTE)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(pixels, 2)) >= 127


@pytest.mark.parametrize("name", ["green", "orange", "Purple", "rebeccapurple", "gray"])
def test_a_css_name_is_said_as_it_was_typed(name: str) -> None:
    assert colour_name(name) == name.lower()


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("#00ff00", "lime"),
        ("#008100", "green"),
        ("#0ff", "cyan"),
        ("#fefefe", "white"),
        ("rgb(250, 5, 250)", "magenta"),
    ],
)
def test_any_other_colour_is_called_by_the_nearest_css_name(colour: str, name: str) -> None:
    assert colour_name(colour) == name


def test_captions_name_the_colour_with_its_article_and_never_white() -> None:
    assert caption_over("a fairy", "green", TEMPLATE) == "a fairy, on a green background"
    assert caption_over("a fairy", "orange", TEMPLATE) == "a fairy, on an orange background"
    assert caption_over("a fairy", "green", ", {colour} background") == "a fairy, green background"
    assert caption_over("a fairy", "#ffffff", TEMPLATE) == "a fairy"


def test_white_is_known_under_all_its_names() -> None:
    assert all(map(is_white, ("white", "White", "#fff", "#ffffff", "rgb(255,255,255)")))
    assert not any(map(is_white, ("random", "snow", "#fffffe")))


def test_transparency_is_more_than_a_speck() -> None:
    image = Image.new("RGBA", (32, 32), "red")
    assert not is_transparent(image)
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert not is_transparent(image)
    image.paste((0, 0, 0, 0), (0, 0, 4, 4))
    assert is_transparent(image) and is_transparent(decode(SVG.encode(), 32))


# What is cached


def test_every_variant_lies_over_the_colour_that_its_caption_names(mixed: Prepared) -> None:
    seen = set()
    for example in mixed.training + mixed.held_out:
        colours = colours_of("random", example.content, transparent=True)
        assert len(example.captions) == len(mixed.latents.variants) == 2 * COLOURS
        for index, (variant, caption) in enumerate(zip(mixed.latents.variants, example.captions, strict=True)):
            if example.caption.startswith("photo"):
                assert caption == example.caption
                continue
            colour = colours[variant.colour]
            assert corner(mixed, example.content, index) == ImageColor.getrgb(colour)
            assert caption == example.caption + ("" if colour == WHITE else f", on a {colour} background")
            seen.add(colour)
    assert seen == {WHITE, *PALETTE}


def test_opaque_images_are_the_same_in_every_variant(mixed: Prepared) -> None:
    (example, *_) = [example for example in mixed.training if example.caption.startswith("photo")]
    means = [mixed.latents.get(example.content, variant)[0] for variant in range(len(mixed.latents.variants))]
    assert all(torch.equal(mean, means[n % 2]) for n, mean in enumerate(means))
    assert torch.equal(means[1], means[0].flip(-1))


def test_validation_is_over_white_as_in_a_run_over_white(tmp_path: Path) -> None:
    path = write(tmp_path / "set")
    white, mixed = (
        prepared(path, tmp_path / "cache", background=background, held_out=0.25) for background in ("white", "random")
    )
    for first, second in zip(white.held_out, mixed.held_out, strict=True):
        assert (first.content, first.caption) == (second.content, second.caption)
        assert torch.equal(white.latents.get(first.content)[0], mixed.latents.get(second.content, 0)[0])


def test_training_reads_each_variant_with_its_own_caption(mixed: Prepared) -> None:
    entries = TrainingSet(mixed, 7, 4, 0, 400)
    pairs = {
        (mixed.latents.get(example.content, variant)[0].numpy().tobytes(), mixed.text.get(caption).numpy().tobytes())
        for example in mixed.training
        for variant, caption in enumerate(example.captions)
    }
    drawn = {
        (e["mean"].numpy().tobytes(), e["embedding"].numpy().tobytes()) for e in map(entries.__getitem__, range(400))
    }
    assert drawn <= pairs and len(drawn) > 0.8 * len(pairs)


def test_a_fixed_colour_is_said_where_it_shows(tmp_path: Path) -> None:
    ready = prepared(write(tmp_path / "set"), tmp_path / "cache", background="#008001")
    assert {example.captions for example in ready.training} == {
        *((f"photo {number}",) for number in range(3)),
        *((f"figure {number}, on a green background",) for number in range(3, 12)),
    }


def test_a_fixed_colour_may_be_called_as_one_likes(tmp_path: Path) -> None:
    said = ", on mint"
    ready = prepared(write(tmp_path / "set"), tmp_path / "cache", background="#98ff98", background_caption=said)
    assert sum(example.caption.endswith(said) for example in ready.training) == 9


def test_without_a_template_nothing_is_said(tmp_path: Path) -> None:
    ready = prepared(write(tmp_path / "set"), tmp_path / "cache", background="random", background_caption=None)
    assert all(len(set(example.captions)) == 1 for example in ready.training)
    assert not any("background" in example.caption for example in ready.training)


def test_a_background_that_shows_nowhere_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opaque = write(tmp_path / "opaque", transparent=0)
    prepared(opaque, tmp_path / "cache", background="random")
    assert caplog.messages == ["data.background=random shows behind no image: none of them is transparent"]
    caplog.clear()
    prepared(opaque, tmp_path / "cache")
    prepared(write(tmp_path / "mixed"), tmp_path / "cache", background="random")
    assert caplog.messages == []


def build(items: dict[str, Item], directory: Path, background: str) -> CountingEncoder:
    encoder = CountingEncoder()
    build_latents(items, replace(Layout(16), background=background), (False,), encoder.load, "conv", directory)
    return encoder


def test_a_image_that_is_cached_over_white_stays_as_it_was_kept(tmp_path: Path) -> None:
    build(items_of(3), tmp_path, "white")
    (path,) = tmp_path.rglob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["logvar", "mean"]
        assert json.loads(file.metadata()["recipe"]) == {
            "format": 1,
            "encoder": "conv",
            "layout": {"resolution": 16, "background": [255, 255, 255], "fit": "pad", "margin": None},
            "variants": [False],
            "batch": 16,
        }


def test_random_is_cached_apart_and_once(tmp_path: Path) -> None:
    assert [build(items_of(3), tmp_path, name).loads for name in ("white", "random", "random", "white")] == [1, 1, 0, 0]


def test_another_palette_is_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(items_of(3), tmp_path, "random")
    monkeypatch.setattr("emote.data.background.PALETTE", (*PALETTE[:-1], "red"))
    assert build(items_of(3), tmp_path, "random").loads == 1
