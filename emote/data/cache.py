"""What the frozen encoders make of images and captions, computed once and kept.

Encoders arrive as arguments and are loaded only where something is missing. What they return is kept in
`shards`; see there for how it survives kills, damage and a second process.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from emote.data.background import colour_count, colours_of, is_white, pixels_of
from emote.data.images import BadImage, Layout, decode_for, figure_of, is_transparent, lay_out
from emote.data.item import Item, content_key
from emote.data.shards import Group, Rows, Shards, complete, existing
from emote.util.errors import ConfigError

ImageEncoder = Callable[[Tensor], tuple[Tensor, Tensor]]
"""float32 [B, 3, H, W] in [-1, 1] to the posterior's mean and log-variance, each [B, C, h, w]."""
TextEncoder = Callable[[list[str]], Tensor]
"""B captions to their embeddings [B, T, D]."""

TEXT_BATCH = 64  # captions; part of the cache's identity, as the bits depend on it

T = TypeVar("T")
R = TypeVar("R")


class Variant(NamedTuple):
    """colour: which of the image's colours lies under it (see `background.colours_of`)."""

    colour: int
    mirrored: bool


class Drawn(NamedTuple):
    """One image's pixels, uint8 [H, W, 3], in each variant."""

    variants: list[np.ndarray]
    transparent: bool


class Latents:
    """Mean and log-variance of the VAE's posterior for every image, in each variant, memory-mapped.

    bad: content hash to reason, for images that cannot be decoded.
    """

    def __init__(self, shards: Shards, variants: tuple[Variant, ...]) -> None:
        self._shards = shards
        self.variants = variants

    @property
    def bad(self) -> dict[str, str]:
        return self._shards.bad

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w). Raises LookupError where no image is good."""
        _, channels, height, width = self._shards.shape("mean")
        return channels, height, width

    def __contains__(self, content: str) -> bool:
        return content in self._shards

    def get(self, content: str, variant: int = 0) -> tuple[Tensor, Tensor]:
        """Return (mean, logvar), each float32 [C, h, w]. Raises KeyError for what is bad or was never encoded."""
        return self._shards.row("mean", content, variant), self._shards.row("logvar", content, variant)

    def is_transparent(self, content: str) -> bool:
        """Whether the background shows through the image: kept where that is not white. Raises KeyError as `get`."""
        return bool(self._shards.row("transparent", content))


class TextEmbeddings:
    """The embedding of every caption, and of the empty one, memory-mapped."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def __contains__(self, caption: str) -> bool:
        return caption_key(caption) in self._shards

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, D)."""
        return self._shards.shape("embedding")

    def get(self, caption: str) -> Tensor:
        """Return [T, D], in the type that the encoder returned. Raises KeyError for a caption that was not encoded."""
        try:
            return self._shards.row("embedding", caption_key(caption))
        except KeyError:
            raise KeyError(f"caption {caption!r} was not encoded") from None


class Figures:
    """How much of each latent's cell an image covers, and the background does not, memory-mapped."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def get(self, content: str, mirrored: bool = False) -> Tensor:
        """Return float32 [h, w] in [0, 1]; 1 everywhere for an image through which nothing shows. Raises KeyError."""
        figure_HW = self._shards.row("figure", content).float() / 255
        return figure_HW.flip(-1) if mirrored else figure_HW

    def is_transparent(self, content: str) -> bool:
        return bool(self._shards.row("transparent", content))


def caption_key(caption: str) -> str:
    return hashlib.sha256(caption.encode()).hexdigest()


def build_latents(
    items: Mapping[str, Item],
    layout: Layout,
    mirrored: tuple[bool, ...],
    load_encoder: Callable[[], ImageEncoder],
    encoder_key: str,
    directory: Path,
    batch_size: int = 16,
    workers: int = 1,
) -> Latents:
    """Encode every image of `items` (content hash to item), in each variant, but those already cached.

    mirrored: (False, True) keeps each image's mirror image too, over each of its colours.
    load_encoder: called at most once, and only where an image must be encoded; the encoder is dropped before
    this returns.  encoder_key: identifies its weights and arithmetic.  directory: shards lie in `latents/`.
    batch_size: rows of every call of the encoder; it is part of the shards' identity, since the bits of a
    convolution depend on it.  workers: threads that decode ahead.
    Raises ConfigError for values that are not finite, an image that changes while it is read, a full disk.
    """
    variants = _variants(layout, mirrored)
    white = is_white(layout.background)
    recipe = _image_recipe(layout, mirrored, encoder_key, batch_size)

    def make(groups: list[Group], advance: Callable[[int], None]) -> Generator[Rows, None, None]:
        encode: ImageEncoder | None = None
        with ThreadPoolExecutor(workers) as pool:
            keys = itertools.chain.from_iterable(groups)
            decoded = ahead(
                pool, lambda key: _decode(items[key], key, layout, variants), keys, window=max(2 * workers, batch_size)
            )
            for group in groups:
                bad: dict[str, str] = {}
                transparent: list[bool] = []
                latents: list[tuple[Tensor, Tensor]] = []
                rows = _good_rows(zip(group, decoded, strict=False), bad, transparent, advance)
                for batch in _batches(rows, batch_size):
                    encode = encode or load_encoder()
                    latents.append(_encode_images(encode, batch, batch_size))
                good = len(group) - len(bad)
                tensors = {
                    name: _stack([pair[n] for pair in latents], good, len(variants))
                    for n, name in enumerate(("mean", "logvar"))
                }
                yield tensors if white else {**tensors, "transparent": torch.tensor(transparent, dtype=torch.bool)}, bad

    return Latents(complete(items, Path(directory) / "latents", recipe, make, "images", workers), variants)


def build_figures(items: Mapping[str, Item], layout: Layout, side: int, directory: Path, workers: int = 1) -> Figures:
    """Lay out the alpha of every image of `items`, as `build_latents` does its colours. side: of the latents.

    Shards lie in `figures/`. Raises ConfigError as `build_latents`.
    """

    def make(groups: list[Group], advance: Callable[[int], None]) -> Generator[Rows, None, None]:
        with ThreadPoolExecutor(workers) as pool:
            keys = itertools.chain.from_iterable(groups)
            drawn = ahead(pool, lambda key: _figure(items[key], key, layout, side), keys, window=2 * workers)
            for group in groups:
                bad: dict[str, str] = {}
                found: list[tuple[np.ndarray, bool]] = []
                for key, figure in zip(group, drawn, strict=False):
                    if isinstance(figure, str):
                        bad[key] = figure
                    else:
                        found.append(figure)
                    advance(1)
                stacked = np.stack([figure for figure, _ in found]) if found else np.empty((0, side, side), np.uint8)
                transparent = torch.tensor([seen for _, seen in found], dtype=torch.bool)
                yield {"figure": torch.from_numpy(stacked), "transparent": transparent}, bad

    recipe = {"layout": {**asdict(layout), "background": None}, "side": side}  # it shows nowhere
    return Figures(complete(items, Path(directory) / "figures", recipe, make, "figures", workers))


def cached_latents(
    contents: Iterable[str], layout: Layout, mirrored: tuple[bool, ...], encoder_key: str, directory: Path,
    batch_size: int = 16,
) -> Latents:  # fmt: skip
    """What `build_latents` would not encode again, by the names and headers of files; no checksum is verified."""
    recipe = _image_recipe(layout, mirrored, encoder_key, batch_size)
    return Latents(existing(contents, Path(directory) / "latents", recipe), _variants(layout, mirrored))


def cached_text(
    captions: Iterable[str], encoder_key: str, directory: Path, batch_size: int = TEXT_BATCH
) -> TextEmbeddings:
    """Return what `build_text` would not encode again, as `cached_latents`."""
    keys = {caption_key(caption) for caption in {*captions, ""}}
    return TextEmbeddings(existing(keys, Path(directory) / "text", _text_recipe(encoder_key, batch_size)))


def _variants(layout: Layout, mirrored: tuple[bool, ...]) -> tuple[Variant, ...]:
    return tuple(Variant(n, mirror) for n in range(colour_count(layout.background)) for mirror in mirrored)


def _image_recipe(layout: Layout, mirrored: tuple[bool, ...], encoder_key: str, batch_size: int) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "encoder": encoder_key,
        "layout": {**asdict(layout), "background": pixels_of(layout.background)},
        "variants": list(mirrored),
        "batch": batch_size,
    }
    if not is_white(layout.background):
        recipe["transparent"] = True  # the shards say of each image whether the background shows
    return recipe


def _text_recipe(encoder_key: str, batch_size: int) -> dict[str, Any]:
    return {"encoder": encoder_key, "batch": batch_size}


def build_text(
    captions: Iterable[str],
    load_encoder: Callable[[], TextEncoder],
    encoder_key: str,
    directory: Path,
    batch_size: int = TEXT_BATCH,
) -> TextEmbeddings:
    """Encode every distinct caption, and the empty one (caption dropout and guidance need it), but those cached.

    As `build_latents`; shards lie in `text/`.
    """
    by_key = {caption_key(caption): caption for caption in {*captions, ""}}

    def make(groups: list[Group], advance: Callable[[int], None]) -> Generator[Rows, None, None]:
        encode = load_encoder()
        for group in groups:
            embeddings = []
            for batch in _batches((by_key[key] for key in group), batch_size):
                padded = batch + [""] * (batch_size - len(batch))
                with torch.inference_mode():
                    # a copy: a slice would keep the whole batch, and CLIP's output other layers' memory
                    embedding_BTD = encode(padded)[: len(batch)].to("cpu", copy=True)
                embeddings.append(_finite(embedding_BTD, "captions"))
                advance(len(batch))
            yield {"embedding": torch.cat(embeddings)}, {}

    recipe = _text_recipe(encoder_key, batch_size)
    return TextEmbeddings(complete(by_key, Path(directory) / "text", recipe, make, "captions"))


def _read(item: Item, content: str) -> bytes:
    try:
        data = item.read()
    except OSError as error:
        raise ConfigError(f"{item.name} can no longer be read ({error}); say the command again") from error
    if content_key(data, item.rendering) != content:
        raise ConfigError(f"{item.name} has changed since the images were listed; say the command again")
    return data


def _decode(item: Item, content: str, layout: Layout, variants: Sequence[Variant]) -> Drawn | str:
    """The image in each variant, or why it is bad."""
    data = _read(item, content)
    try:
        image = decode_for(data, layout, item.rendering)
        transparent = is_transparent(image)
        colours = colours_of(layout.background, content, transparent)
        over = {
            colour: np.asarray(lay_out(image, replace(layout, background=colour), item.rendering.nearest))
            for colour in set(colours)
        }
    except BadImage as error:
        return str(error)
    drawn = [over[colours[variant.colour]] for variant in variants]
    return Drawn([p[:, ::-1] if v.mirrored else p for p, v in zip(drawn, variants, strict=True)], transparent)


def _figure(item: Item, content: str, layout: Layout, side: int) -> tuple[np.ndarray, bool] | str:
    """See `images.figure_of`, and whether the background shows; or why the image is bad."""
    data = _read(item, content)
    try:
        image = decode_for(data, layout, item.rendering)
        return figure_of(image, layout, item.rendering.nearest, side), is_transparent(image)
    except BadImage as error:
        return str(error)


def _good_rows(
    decoded: Iterable[tuple[str, Drawn | str]],
    bad: dict[str, str],
    transparent: list[bool],
    advance: Callable[[int], None],
) -> Iterator[np.ndarray]:
    for key, result in decoded:
        if isinstance(result, str):
            bad[key] = result
        else:
            transparent.append(result.transparent)
            yield from result.variants
        advance(1)


def _encode_images(encode: ImageEncoder, batch: list[np.ndarray], batch_size: int) -> tuple[Tensor, Tensor]:
    # always the full size, since its bits depend on the size; what is padded is grey
    pixels_BHWC = np.full((batch_size, *batch[0].shape), 128, dtype=np.uint8)
    pixels_BHWC[: len(batch)] = batch
    pixels_B3HW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float().contiguous().div_(127.5).sub_(1)
    with torch.inference_mode():
        mean, logvar = encode(pixels_B3HW)
        rows = [part[: len(batch)].to("cpu", torch.float32, copy=True) for part in (mean, logvar)]
    return _finite(rows[0], "images"), _finite(rows[1], "images")


def _finite(values: Tensor, unit: str) -> Tensor:
    # a cache is for ever: half precision that overflowed once would spoil every later run
    if not torch.isfinite(values).all():
        raise ConfigError(
            f"encoding {unit} gave values that are not finite: the encoder overflows in this precision, or its "
            "weights are damaged; set trainer.precision=float32"
        )
    return values


def _stack(rows: list[Tensor], images: int, variants: int) -> Tensor:
    if not images:
        return torch.empty(0, variants, 0, 0, 0)
    rows_NCHW = torch.cat(rows)
    return rows_NCHW.reshape(images, variants, *rows_NCHW.shape[1:])


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def ahead(pool: ThreadPoolExecutor, function: Callable[[T], R], arguments: Iterable[T], window: int) -> Iterator[R]:
    """`pool.map` in order, but at most `window` calls ahead of what is consumed: memory stays flat."""
    arguments = iter(arguments)
    waiting: deque[Future[R]] = deque(pool.submit(function, a) for a in itertools.islice(arguments, window))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, a) for a in itertools.islice(arguments, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
