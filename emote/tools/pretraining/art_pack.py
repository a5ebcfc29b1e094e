"""One compressed file with every drawing of all styles, from which any machine rasterises: no network is needed.

{"sets": {style: credit}, "wordings": {name: [...]}, "drawings": [[style, codepoints, name, svg], ...]}
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.data.art import art_files
from emote.data.iconify import read_icon_set
from emote.data.naming import catalogue
from emote.tools.pretraining.wordings import list_wordings
from emote.util.files import write_bytes

TRAINED = ("twemoji", "noto", "fluent")  # the UNet, the towers, the judge and the autoencoder learn these
UNSEEN = ("openmoji", "blob", "emojione")  # what adapters are taught and judged on: nothing has seen them
ICON_SETS = {"noto": "noto", "fluent": "fluent-emoji-flat", "blob": "noto-v1", "emojione": "emojione"}
CREDITS = {
    "openmoji": {"title": "OpenMoji", "author": "OpenMoji", "licence": "CC BY-SA 4.0", "url": "https://openmoji.org"},
    "twemoji": {
        "title": "Twemoji", "author": "Twitter, Inc and other contributors", "licence": "CC BY 4.0",
        "url": "https://github.com/jdecked/twemoji",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    style: str
    codepoints: str
    name: str
    svg: bytes


@dataclass(frozen=True)
class ArtPack:
    """sets: style to its credit (title, author, licence, url). wordings: emoji name to the ways to ask for it."""

    sets: dict[str, dict[str, str]]
    wordings: dict[str, tuple[str, ...]]
    drawings: list[Drawing]


def collect_art(packages: Mapping[str, Path], keywords: Path | None) -> ArtPack:
    """All drawings of named emoji: OpenMoji and Twemoji from PyPI's packages, the rest from npm's.

    packages: style (of ICON_SETS) to the package's folder or .tgz. keywords: `en/data.json` of npm's
    `emojibase-data`, which holds CLDR's keywords. Of the unseen styles no skin tones are taken: they only judge.
    """
    names = catalogue()
    drawings: list[Drawing] = []
    sets: dict[str, dict[str, str]] = {}
    for style in (*TRAINED, *UNSEEN):
        if style in ICON_SETS:
            icon_set = read_icon_set(packages[style])
            svgs = {code: icon.svg for code, icon in icon_set.emoji().items()}
            sets[style] = {
                "title": icon_set.title, "author": icon_set.author, "licence": icon_set.licence, "url": icon_set.url,
            }  # fmt: skip
        else:
            svgs = {code: path.read_bytes() for code, path in art_files(style).items() if code in names}
            sets[style] = CREDITS[style]
        drawings += [
            Drawing(style, code, names[code][0], svg)
            for code, svg in svgs.items()
            if style in TRAINED or "skin tone" not in names[code][0]
        ]
    wordings = list_wordings(dict(names.values()), read_keywords(keywords) if keywords else {})
    return ArtPack(sets, wordings, drawings)


def read_keywords(path: Path) -> dict[str, tuple[str, ...]]:
    """Emoji name to CLDR's keywords, from `en/data.json` of `emojibase-data`."""
    from emote.data.naming import normalise_stem

    names = catalogue()
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    by_code = {normalise_stem(entry["hexcode"]): tuple(entry.get("tags", ())) for entry in entries}
    return {name: by_code[code] for code, (name, _) in names.items() if code in by_code}


def write_art_pack(path: Path, pack: ArtPack) -> None:
    content = {
        "sets": pack.sets,
        "wordings": pack.wordings,
        "drawings": [[d.style, d.codepoints, d.name, d.svg.decode()] for d in pack.drawings],
    }
    write_bytes(path, lzma.compress(json.dumps(content, ensure_ascii=False).encode(), preset=9))


def read_art_pack(path: Path) -> ArtPack:
    content = json.loads(lzma.decompress(path.read_bytes()))
    return ArtPack(
        sets=content["sets"],
        wordings={name: tuple(words) for name, words in content["wordings"].items()},
        drawings=[Drawing(style, code, name, svg.encode()) for style, code, name, svg in content["drawings"]],
    )


def thin_out(pack: ArtPack, every: int, besides: Sequence[str] = ()) -> ArtPack:
    """The drawings of every `every`-th name and of those named `besides`, of all styles: to try things out."""
    kept = {*sorted({drawing.name for drawing in pack.drawings})[::every], *besides}
    return ArtPack(pack.sets, pack.wordings, [drawing for drawing in pack.drawings if drawing.name in kept])
