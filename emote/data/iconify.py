"""Icon sets in iconify's format: npm packages that hold SVG bodies, a licence and an author.

A package (`@iconify-json/noto`) is a folder or the `.tgz` that `npm pack` writes. It holds `icons.json` (bodies,
sizes, aliases), `info.json` (licence, author) and `chars.json` (codepoints to icon names, which may be empty).
The format: https://iconify.design/docs/types/iconify-json.html
"""

from __future__ import annotations

import functools
import json
import re
import tarfile
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.data.naming import catalogue, normalise_stem

MAX_ALIAS_DEPTH = 8  # aliases of aliases; a circle ends there


class BadIconSet(ValueError):
    """What was given is not a package of this format; the message says what is missing."""


@dataclass(frozen=True)
class Icon:
    """One drawing: its name in the set, its emoji name or its words, codepoints (None if no emoji), SVG bytes."""

    icon: str
    name: str
    codepoints: str | None
    svg: bytes


@dataclass(frozen=True)
class IconSet:
    """A package as read: what must be credited, and its icons by name."""

    prefix: str
    title: str
    author: str
    licence: str
    url: str
    icons: Mapping[str, Icon]

    def emoji(self) -> dict[str, Icon]:
        """Normalised codepoints to icon, of those that are emoji, sorted."""
        return dict(sorted((icon.codepoints, icon) for icon in self.icons.values() if icon.codepoints))


def read_icon_set(path: Path) -> IconSet:
    """Read a package's folder or `.tgz`. Raises BadIconSet with what is wrong with it."""
    icons_json = _read(path, "icons.json")
    if icons_json is None or not isinstance(icons_json.get("icons"), dict):
        raise BadIconSet(f"{path} holds no icons.json with icons; pass the folder or .tgz of an @iconify-json package")
    info = _read(path, "info.json") or {}
    characters = _read(path, "chars.json") or {}
    codepoints_of = {name: normalise_stem(code) for code, name in sorted(characters.items(), reverse=True)}
    if not codepoints_of:
        codepoints_of = _codepoints_by_slug()
    icons = {name: _icon(name, svg, codepoints_of) for name, svg in _drawings(icons_json)}
    author, licence = info.get("author", {}), info.get("license", {})
    return IconSet(
        prefix=str(icons_json.get("prefix", path.name)),
        title=str(info.get("name", icons_json.get("prefix", path.name))),
        author=str(author.get("name", "unknown")),
        licence=str(licence.get("title", "unknown")),
        url=str(author.get("url", "")),
        icons=icons,
    )


def _icon(name: str, svg: bytes, codepoints_of: Mapping[str, str]) -> Icon:
    code = codepoints_of.get(name)
    known = catalogue().get(code) if code else None
    return Icon(name, known[0] if known else name.replace("-", " "), code if known else None, svg)


def _drawings(icons_json: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Name and SVG of every icon and alias; hidden ones too, which are old names of drawings."""
    icons, aliases = icons_json["icons"], icons_json.get("aliases", {})
    for name in sorted({*icons, *aliases}):
        entry = _resolve(name, icons, aliases)
        if entry is not None:
            yield name, _to_svg(entry, icons_json)


def _resolve(name: str, icons: dict[str, Any], aliases: dict[str, Any]) -> dict[str, Any] | None:
    """An alias has its parent's body; sizes are overridden, flips cancel out and turns add up."""
    changes: dict[str, Any] = {}
    for _ in range(MAX_ALIAS_DEPTH):
        entry = icons.get(name) or aliases.get(name)
        if entry is None:
            return None
        flips = {key: bool(entry.get(key)) != bool(changes.get(key)) for key in ("hFlip", "vFlip")}
        rotate = (entry.get("rotate", 0) + changes.get("rotate", 0)) % 4
        changes = {**entry, **changes, **flips, "rotate": rotate}
        if "body" in entry:
            return changes
        name = entry.get("parent", "")
    return None


def _to_svg(entry: dict[str, Any], defaults: dict[str, Any]) -> bytes:
    left, top = (entry.get(key, defaults.get(key, 0)) for key in ("left", "top"))
    width, height = (entry.get(key, defaults.get(key, 16)) for key in ("width", "height"))
    body = entry["body"]
    moves = []  # the last of them is done first: icons are flipped, then turned
    if entry.get("rotate"):
        moves.append(f"rotate({90 * entry['rotate']} {left + width / 2} {top + height / 2})")
    if entry.get("hFlip") or entry.get("vFlip"):
        across, down = bool(entry.get("hFlip")), bool(entry.get("vFlip"))
        moves.append(f"translate({2 * left + width if across else 0} {2 * top + height if down else 0})")
        moves.append(f"scale({-1 if across else 1} {-1 if down else 1})")
    if moves:
        body = f'<g transform="{" ".join(moves)}">{body}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg>'
    ).encode()


def to_slug(name: str) -> str:
    """An emoji's name as sets without `chars.json` spell it: `cat with tears of joy` to `cat-with-tears-of-joy`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


@functools.cache
def _codepoints_by_slug() -> dict[str, str]:
    return {to_slug(name): code for code, (name, _) in reversed(catalogue().items())}


def _read(path: Path, name: str) -> dict[str, Any] | None:
    """A JSON file of the package, None where it has none. Raises BadIconSet for what cannot be read."""
    try:
        if path.is_dir():
            file = path / name
            content = file.read_bytes() if file.exists() else None
        else:
            with tarfile.open(path) as archive:
                members = [m for m in archive.getmembers() if m.isfile() and m.name.split("/")[1:] == [name]]
                opened = archive.extractfile(members[0]) if members else None
                content = opened.read() if opened else None
        value = None if content is None else json.loads(content)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BadIconSet(f"{path} cannot be read as an icon set: {type(error).__name__}: {error}") from error
    return value if isinstance(value, dict) else None
