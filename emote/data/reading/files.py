"""The files of a directory or of a zip archive, by their relative names."""

from __future__ import annotations

import lzma
import os
import unicodedata
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from emote.util.errors import ConfigError

MOST_BYTES = 1 << 30  # of one file of an archive: above it, more likely a decompression bomb than an image
# what zipfile raises for a part that cannot be unpacked
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, LookupError,
           ValueError)  # fmt: skip
ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


class Files:
    """names: relative, with slashes, sorted; without hidden files and the litter of macOS archives.

    left: what is not among them, by what it is.  label: what messages call the whole.
    """

    def __init__(self, label: str, names: list[str], left: Counter[str]) -> None:
        self.label, self.names, self.left = label, sorted(names), left

    def read(self, name: str) -> bytes:
        """Raises OSError."""
        raise NotImplementedError

    def where(self, name: str) -> str:
        """What messages call one of the files."""
        return f"{self.label}/{printable(name)}"

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file; nothing where it cannot be read."""
        try:
            return self.read(name)[:size]
        except OSError:
            return b""


class Reader:
    """Reads one file when it is called; small, for a set may have very many."""

    __slots__ = ("files", "name")

    def __init__(self, files: Files, name: str) -> None:
        self.files, self.name = files, name

    def __call__(self) -> bytes:
        return self.files.read(self.name)


class Directory(Files):
    def __init__(self, root: Path) -> None:
        names: list[str] = []
        left: Counter[str] = Counter()
        self.root = str(root)

        def unreadable(error: OSError) -> None:
            left["folders that cannot be opened"] += 1

        for folder, folders, inside in os.walk(self.root, onerror=unreadable):
            prefix = os.path.relpath(folder, self.root).replace(os.sep, "/")
            prefix = "" if prefix == "." else f"{prefix}/"
            left["links to folders, which are not followed"] += sum(
                os.path.islink(os.path.join(folder, name)) for name in folders
            )
            for name in inside:
                if is_litter(prefix + name):
                    left["hidden"] += 1
                else:
                    names.append(prefix + name)
        super().__init__(self.root, names, +left)

    def read(self, name: str) -> bytes:
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()

    def head(self, name: str, size: int) -> bytes:
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                return file.read(size)
        except OSError:
            return b""


class Archive(Files):
    """A zip file, read where it lies."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise ConfigError(f"data.path={path} is not a readable zip archive ({error})") from error
        names: dict[str, None] = {}
        left: Counter[str] = Counter()
        for entry in self._zip.infolist():
            if entry.is_dir():
                continue
            if is_litter(entry.filename):
                left["hidden"] += 1
            elif entry.filename in names:
                left["second entries of one name"] += 1
            else:
                names[entry.filename] = None
        super().__init__(str(path), list(names), left)

    def read(self, name: str) -> bytes:
        try:
            entry = self._zip.getinfo(name)
            if entry.file_size > MOST_BYTES:
                raise OSError(f"it unpacks to {entry.file_size:,} bytes, over the limit of {MOST_BYTES:,}")
            return self._zip.read(entry)
        except DAMAGED as error:
            raise OSError(f"its part of the archive cannot be unpacked: {error}") from error


def open_files(path: str | None) -> Files:
    """The files of a directory or of a zip archive. Raises ConfigError for what is neither."""
    if not path:
        raise ConfigError("data.path must name a directory with images when data=folder; set data.path=…")
    root = Path(path).expanduser()
    try:
        if root.is_dir():
            return Directory(root)
        if not root.exists():
            raise ConfigError(f"data.path={path} does not exist; set data.path=<a directory with images>")
    except (OSError, ValueError) as error:  # a name that is too long, a null byte
        raise ConfigError(f"data.path={printable(path)} cannot be a path ({error})") from error
    if root.suffix.lower() == ".zip" or zipfile.is_zipfile(root):
        return Archive(root)
    if root.suffix.lower() in ARCHIVES:
        raise ConfigError(f"data.path={path} is an archive that is not read; unpack it, or make a .zip of it")
    if root.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
        raise ConfigError(f"data.path={path} is a table; for images that it names set data=table data.path={path}")
    raise ConfigError(f"data.path={path} is a file; set data.path={root.parent} to use all images beside it")


def is_litter(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) or part in ("Thumbs.db", "desktop.ini") for part in name.split("/"))


def file_key(name: str) -> str:
    """One spelling of a relative path: macOS writes é as two code points and metadata from elsewhere as one."""
    return unicodedata.normalize("NFC", os.path.normpath(name).replace(os.sep, "/"))


# PurePosixPath would do the same, and keep every name that it ever saw in memory


def suffix_of(name: str) -> str:
    """In lower case, with its dot; nothing where there is none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if 0 < dot < len(base) - 1 else ""


def stem_of(name: str) -> str:
    base = name.rpartition("/")[2]
    return base[: len(base) - len(suffix_of(name))]


def folders_of(name: str) -> tuple[str, ...]:
    return tuple(name.split("/")[:-1])


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere: names may hold bytes that are no characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
