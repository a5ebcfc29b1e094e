"""Look at every image of a set once: what it is, and what is left of it in the square that the model sees."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emote.config import RANDOM_BACKGROUND
from emote.data.background import PALETTE, WHITE
from emote.data.cache import ahead
from emote.data.images import BadImage, Layout, decode_for, formats, is_svg, lay_out, svg_text
from emote.data.item import Item
from emote.data.rendering import is_animated
from emote.util.files import write_with

FORMAT = 1  # raise it when the same image would be described differently
SIDE_PX = 64  # the square that is looked at
DIFFERS = 12  # of 255: what stands out from the background
LONG = 8  # times as long as wide
SMALL = 0.25  # of the square's side
THUMB = 6
NEAR, MOST_PAIRS = 5.0, 3_000_000  # of 255, of a quarter's mean; above so many pairs only equal ones are found


class Look(NamedTuple):
    """width, height: pixels; 0 for SVG, which has none.  frames: of an animated image, else 1.

    blank: nothing stands out from the background.  small: the drawing is under a quarter of the square, or has fewer
    pixels.  links: an SVG with linked files or HTML, which are not drawn.  thumb: its colours, for near-duplicates.
    """

    width: int
    height: int
    frames: int
    blank: bool
    small: bool
    links: bool
    thumb: bytes

    @property
    def is_long(self) -> bool:
        return max(self.width, self.height) > LONG * max(1, min(self.width, self.height))


Looks = Mapping[str, Look | str]
"""By content: what an image is, or why it is none."""


def unusable(looks: Looks) -> dict[str, str]:
    """Content to reason, of what cannot be decoded."""
    return {content: look for content, look in looks.items() if isinstance(look, str)}


def look_at(
    items: Mapping[str, Item], layout: Layout, cache_dir: Path | None, on_image: Callable[[], None] = lambda: None
) -> Looks:
    """Look at each image (content to item), unless the same set was looked at before; cache_dir: where that is kept."""
    contents = sorted(items)
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(layout)]).encode())
    for content in contents:
        digest.update(content.encode())
    path = cache_dir / "looks" / f"{digest.hexdigest()[:32]}.jsonl" if cache_dir else None
    if path and (known := _read(path, contents)) is not None:
        return known
    found: dict[str, Look | str] = {}
    look = partial(_look, items=items, layout=layout)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for content, seen in zip(contents, ahead(pool, look, contents, window=64), strict=True):
            found[content] = seen
            on_image()
    if path:
        write_with(path, partial(_write, found=found))
    return found


def _look(content: str, items: Mapping[str, Item], layout: Layout) -> Look | str:
    item = items[content]
    try:
        data = item.read()
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    side = min(SIDE_PX, layout.resolution)
    background = WHITE if layout.background == RANDOM_BACKGROUND else layout.background
    small_layout = replace(layout, resolution=side, background=background)
    try:
        image = decode_for(data, small_layout, item.rendering)
        square = lay_out(image, small_layout, item.rendering.nearest)
    except BadImage as error:
        return str(error)
    if is_svg(data):
        width = height = 0
        frames, links = 1, bool(_LINKS.search(svg_text(data)))
    else:
        with Image.open(io.BytesIO(data), formats=formats()) as opened:
            width, height = opened.size
            frames = _frame_count(opened) if is_animated(data) else 1
        links = False
    box = _figure(square)
    blank = box == 0
    if blank and layout.background == RANDOM_BACKGROUND:  # over white, which is its first colour
        blank = all(_figure(lay_out(image, replace(small_layout, background=colour))) == 0 for colour in PALETTE[:2])
    # layouts that crop to the figure make every figure large
    tiny = (0 < box < SMALL * side and layout.margin is None) or (0 < max(width, height) < SMALL * layout.resolution)
    thumb = np.asarray(square.resize((THUMB, THUMB), Image.Resampling.BOX)).tobytes()
    return Look(width, height, frames, blank, tiny, links, thumb)


_LINKS = re.compile(
    r"<(?:\w+:)?image\b[^>]*\bhref\s*=\s*[\"'](?!data:|#)|<(?:\w+:)?foreignObject\b|<\?xml-stylesheet", re.IGNORECASE
)


def _frame_count(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # damage after the frame that is used: Pillow's plugins raise nearly anything
        return 1


def _figure(square: Image.Image) -> int:
    """The longer side, in pixels, of what stands out from the corner's colour; 0 for a plain square."""
    pixels = np.asarray(square, dtype=np.int16)
    rows, columns = np.nonzero(np.abs(pixels - pixels[0, 0]).max(axis=2) > DIFFERS)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1 if len(rows) else 0


def near_duplicates(looks: Looks, contents: Iterable[str]) -> list[list[str]]:
    """Return groups of contents that look nearly the same, largest first. Who is near one of a group is in it."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    # equal ones at once: a tree over thousands of equal points finds millions of pairs
    distinct: dict[bytes, int] = {}
    members = [(content, distinct.setdefault(look.thumb, len(distinct)))
               for content in contents if isinstance(look := looks[content], Look) and not look.blank]  # fmt: skip
    if len(members) < 2:
        return []
    thumbs = np.frombuffer(b"".join(distinct), dtype=np.uint8).reshape(len(distinct), -1)
    half = THUMB // 2
    quarters = thumbs.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(thumbs), -1)
    tree = cKDTree(quarters)
    near = np.empty((0, 2), dtype=np.int64)
    if tree.count_neighbors(tree, NEAR, p=np.inf) <= MOST_PAIRS:
        pairs = tree.query_pairs(NEAR, p=np.inf, output_type="ndarray")
        near = pairs[[bool(np.abs(thumbs[a].astype(np.int16) - thumbs[b]).max() <= DIFFERS) for a, b in pairs]]
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(len(thumbs), len(thumbs)))
    _, group_of = connected_components(graph, directed=False)
    sizes = np.bincount(group_of[[number for _, number in members]])
    groups: dict[int, list[str]] = {}
    for content, number in members:
        if sizes[group_of[number]] > 1:
            groups.setdefault(int(group_of[number]), []).append(content)
    return sorted(groups.values(), key=lambda group: (-len(group), group))


def _write(path: Path, found: Looks) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for look in found.values():
            values = look if isinstance(look, str) else [*look[:-1], base64.b64encode(look.thumb).decode()]
            file.write(json.dumps(values) + "\n")


def _read(path: Path, contents: list[str]) -> Looks | None:
    """None where nothing is kept, or not what was written."""
    try:
        with open(path, encoding="utf-8") as file:
            values = [json.loads(line) for line in file]
        looks = [
            value if isinstance(value, str) else Look._make((*value[:-1], base64.b64decode(value[-1])))
            for value in values
        ]
    except (OSError, ValueError, TypeError):
        return None
    return dict(zip(contents, looks, strict=True)) if len(looks) == len(contents) else None
