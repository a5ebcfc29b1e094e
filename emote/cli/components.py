"""What can be chosen by a key and added by one file, as `--help` lists it."""

from __future__ import annotations

import shutil
import textwrap
import typing
from collections.abc import Iterator

from emote.cli.keys import LEAVES


def component_lines() -> Iterator[str]:
    """Yield a row for each component: the word that chooses it, and the first sentence of its docstring."""
    width = min(max(shutil.get_terminal_size((110, 24)).columns, 90), 120)
    rows = []
    for key, (entry, type_) in LEAVES.items():
        if kind := entry.metadata["kind"]:
            shown = f"{key}=[%s]" if typing.get_origin(type_) is list else f"{key}=%s"
            rows += [(shown % name, kind.meaning(name)) for name in kind.names()]
    column = max(len(word) for word, _ in rows) + 4
    for word, meaning in rows:
        first, *more = textwrap.wrap(meaning, width - column) or [""]
        yield f"  {word}".ljust(column) + first
        yield from (" " * column + line for line in more)
