"""An npm package of an icon set in iconify's format, such as @iconify-json/noto: its folder or .tgz."""

from __future__ import annotations

from pathlib import Path

from emote.config import DataConfig
from emote.data.iconify import BadIconSet, Icon, read_icon_set
from emote.data.item import Found, Item
from emote.data.naming import concept_of
from emote.data.reading.wording import caption_of, needs_words
from emote.util.errors import ConfigError

PATH = "a package such as @iconify-json/noto, its folder or its .tgz"  # what data.path must name
SCOPE = "@iconify-json/"


def read_source(data: DataConfig) -> Found:
    """Return every drawing of an emoji; of a set without emoji every icon. The licence is the package's own.

    Raises ConfigError where the package is not there, with the command that fetches it, or is none.
    """
    path = find_package(data.path or "", Path())
    try:
        icons = read_icon_set(path)
    except BadIconSet as error:
        raise ConfigError(f"data.path={data.path}: {error}") from error
    drawings = list(icons.emoji().values()) or list(icons.icons.values())
    if not drawings:
        raise ConfigError(f"data.path={data.path} holds no icons")
    items = [
        Item(
            name=f"{icons.prefix}/{icon.icon}",
            caption=caption_of(data, icon.name if needs_words(data) else ""),
            concept=concept_of(icon.name),
            read=_Svg(icon),
            origin="the icons' names",
        )
        for icon in drawings
    ]
    return Found(items, is_curated=True, licence=f"{icons.licence} ({icons.title} by {icons.author})")


class _Svg:
    """Returns an icon's bytes, which are in memory."""

    __slots__ = ("icon",)

    def __init__(self, icon: Icon) -> None:
        self.icon = icon

    def __call__(self) -> bytes:
        return self.icon.svg


def find_package(path: str, folder: Path) -> Path:
    """Return a package by its path, or by its name where `npm install` or `npm pack` has put it into `folder`.

    Raises ConfigError, with the command to type.
    """
    given = Path(path).expanduser()
    if given.exists():
        return given
    if not path.startswith(SCOPE):
        raise ConfigError(f"data.path={path} does not exist; set data.path=@iconify-json/noto, a folder or a .tgz")
    installed = folder / "node_modules" / path
    packed = sorted(folder.glob(f"iconify-json-{path.removeprefix(SCOPE)}-[0-9]*.tgz"), key=lambda p: p.stat().st_mtime)
    if installed.is_dir():
        return installed
    if not packed:
        raise ConfigError(f"data.path={path} is not here; fetch it with `npm pack {path}`, then say the command again")
    return packed[-1]
