"""Which image a reference means, however it was written down."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from emote.data.reading.files import file_key


class Lookup:
    """Finds names of images. What is spelled otherwise than it lies there is found where only one can be meant."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {file_key(name): name for name in names}

    def find(self, reference: str, folder: str = ".", anywhere: bool = False) -> str | None:
        """The image meant by a path relative to `folder` or to the top, with / or \\, perhaps without its suffix.

        anywhere: the last part of the path suffices, as it does for absolute paths.
        """
        for spelled in dict.fromkeys((reference, reference.replace("\\", "/"))):
            for key in dict.fromkeys((file_key(f"{folder}/{spelled}"), file_key(spelled.lstrip("/")))):
                if found := self.names.get(key) or self._only(self._folded, key) or self._only(self._stems, key):
                    return found
        if not anywhere and not is_absolute(reference):
            return None
        base = PurePosixPath(reference.replace("\\", "/")).name
        return (self._only(self._bases, base) or self._only(self._base_stems, base)) if base else None

    def inside(self, folder: str) -> list[str]:
        """Return the names that lie in `folder` itself, sorted."""
        return sorted(name for name in self.names.values() if str(PurePosixPath(name).parent) == folder)

    @staticmethod
    def _only(index: dict[str, str | None], key: str) -> str | None:
        return index.get(key.casefold())

    # built when first needed: most sets never ask
    @functools.cached_property
    def _folded(self) -> dict[str, str | None]:
        return _unique((key, name) for key, name in self.names.items())

    @functools.cached_property
    def _stems(self) -> dict[str, str | None]:
        return _unique((without_suffix(key), name) for key, name in self.names.items())

    @functools.cached_property
    def _bases(self) -> dict[str, str | None]:
        return _unique((key.rpartition("/")[2], name) for key, name in self.names.items())

    @functools.cached_property
    def _base_stems(self) -> dict[str, str | None]:
        return _unique((without_suffix(key.rpartition("/")[2]), name) for key, name in self.names.items())


def is_absolute(reference: str) -> bool:
    return reference.startswith(("/", "\\\\")) or bool(re.match(r"[A-Za-z]:[\\/]", reference))


def without_suffix(key: str) -> str:
    head, _, base = key.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return f"{head}/{stem}" if head else stem


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for key, name in pairs:
        folded = key.casefold()
        found[folded] = None if folded in found else name
    return found
