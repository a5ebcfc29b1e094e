"""Where images go: a folder of their own, names that say what they are, nothing overwritten."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from emote.util.errors import ConfigError

ROOT = Path("generated")
LONGEST_SLUG = 40
SHEET = "sheet.png"


def slug(text: str) -> str:
    """Return what every disk takes as a name: of `Crème brûlée!` `creme-brulee`; `image` of what has no letters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:LONGEST_SLUG].rstrip("-") or "image"


class Output:
    """Makes the folder when the first file is written: a mistake leaves no empty one behind.

    folder: where to; None for a new `generated/<NNN>-<title>`.
    """

    def __init__(self, folder: Path | None, title: str) -> None:
        self._folder, self._title = folder, title

    def check(self, names: list[str]) -> None:
        """Raises ConfigError where one of these files is there already."""
        there = [name for name in names if self._folder and (self._folder / name).exists()]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise ConfigError(
                f"output={self._folder} has {there[0]}{more} already; set another output=, or remove them"
            )
        if self._folder and self._folder.exists() and not self._folder.is_dir():
            raise ConfigError(f"output={self._folder} is a file; use a folder")

    def path(self, name: str) -> Path:
        """Return where the file of that name goes."""
        if self._folder is None:
            self._folder = _new_folder(self._title)
        return self._folder / name


def _new_folder(title: str) -> Path:
    ROOT.mkdir(exist_ok=True)
    taken = [int(found.group()) for path in ROOT.iterdir() if (found := re.match(r"\d+", path.name))]
    number = max(taken, default=0) + 1
    while True:
        folder = ROOT / f"{number:03d}-{title}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another process was faster
            number += 1
