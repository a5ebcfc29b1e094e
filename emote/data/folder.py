"""A directory of images, captioned as the Hub's ImageFolder has it or as kohya's scripts have it."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from emote.data.images import suffixes
from emote.data.item import Item, Skipped
from emote.data.naming import concept_of
from emote.util.errors import ConfigError

METADATA = ("metadata.jsonl", "metadata.csv")


class Row(NamedTuple):
    """One line of metadata: where it stands, which image it names (as a key, see `_key`), its caption."""

    where: str
    key: str
    file_name: str
    text: str


def folder_items(path: str | None, text_column: str, template: str) -> tuple[list[Item], list[Skipped]]:
    """Every captioned image under `path`, in the order of the paths; the others with the reason.

    Captions come from `metadata.jsonl` or `metadata.csv` in any directory (columns `file_name`, relative to
    it, and `text_column`), else from the first line of a `.txt` with the image's stem. An image that
    metadata names twice is one item for each caption. Raises ConfigError for a directory that does not exist
    or has no images, and for malformed metadata, with file and line.
    """
    root = _directory(path)
    found = sorted(_walk(root))
    images = {_key(name): name for name in found if PurePosixPath(name).suffix.lower() in suffixes()}
    if not images:
        raise ConfigError(
            f"data.path={path} holds no images; put files such as .png, .jpg, .webp or .svg into it, "
            "each with its caption in a .txt of the same name or in metadata.jsonl"
        )
    captions: dict[str, list[str]] = {}
    skipped = []
    for row in _metadata(root, found, text_column):
        if row.key in images:
            captions.setdefault(row.key, []).append(row.text)
        elif (root / row.file_name).is_file():
            skipped.append(Skipped(row.file_name, f"named by {row.where}, but no kind of image that can be read"))
        else:
            skipped.append(Skipped(row.file_name, f"named by {row.where}, but there is no such file"))

    items = []
    for key, name in images.items():
        if key not in captions:
            try:
                captions[key] = [_sidecar(root / name)]
            except FileNotFoundError:
                skipped.append(Skipped(name, "no caption: it has no .txt, and no metadata names it"))
                continue
            except (OSError, UnicodeDecodeError) as error:
                skipped.append(Skipped(name, f"its .txt cannot be read ({type(error).__name__})"))
                continue
        for text in captions[key]:
            if not text:
                skipped.append(Skipped(name, "its caption is empty"))
                continue
            read = partial(Path.read_bytes, root / name)
            items.append(Item(name=name, caption=template.format(text=text), concept=concept_of(text), read=read))
    return items, skipped


def _directory(path: str | None) -> Path:
    if not path:
        raise ConfigError("data.path must name a directory with images when data=folder; set data.path=…")
    root = Path(path).expanduser()
    if not root.exists():
        raise ConfigError(f"data.path={path} does not exist; set data.path=<a directory with images>")
    if not root.is_dir():
        raise ConfigError(f"data.path={path} is a file; set data.path={root.parent} to use all images beside it")
    return root


def _walk(root: Path) -> Iterator[str]:
    """Relative paths with slashes of all files, but hidden ones and the litter of macOS archives."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _key(name: str) -> str:
    # macOS writes é as two code points and metadata from elsewhere as one
    return unicodedata.normalize("NFC", os.path.normpath(name).replace(os.sep, "/"))


def _sidecar(image: Path) -> str:
    """The caption beside an image: its first line, as kohya's scripts read it."""
    lines = image.with_suffix(".txt").read_text(encoding="utf-8-sig").strip().splitlines()
    return lines[0].strip() if lines else ""


def _metadata(root: Path, found: list[str], text_column: str) -> Iterator[Row]:
    files = [PurePosixPath(name) for name in found if PurePosixPath(name).name in METADATA]
    for file in files:
        if sum(other.parent == file.parent for other in files) > 1:
            raise ConfigError(f"{root / file.parent} holds both {' and '.join(METADATA)}; keep one of them")
        rows = _jsonl(root / file, text_column) if file.suffix == ".jsonl" else _csv(root / file, text_column)
        for line, file_name, text in rows:
            relative = str(file.parent / file_name)
            yield Row(f"{file} line {line}", _key(relative), relative, text)


def _jsonl(path: Path, text_column: str) -> Iterator[tuple[int, str, str]]:
    columns: set[str] = set()
    texts = 0
    for line, content in _lines(path):
        if not content.strip():
            continue
        try:
            entry = json.loads(content)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} line {line} is no JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(entry, dict):
            raise ConfigError(f"{path} line {line} must be an object with file_name and {text_column}")
        columns.update(entry)
        texts += text_column in entry
        yield line, _file_name(path, line, entry), _text(path, line, text_column, entry.get(text_column))
    if columns and not texts:
        raise _no_column(path, text_column, sorted(columns))


def _csv(path: Path, text_column: str) -> Iterator[tuple[int, str, str]]:
    reader = csv.DictReader((content for _, content in _lines(path)), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if text_column not in columns:
            raise _no_column(path, text_column, columns)
        for entry in reader:
            line = reader.line_num
            if None in entry or None in entry.values():
                given = sum(value is not None for key, value in entry.items() if key) + len(entry.get(None, ()))
                raise ConfigError(
                    f"{path} line {line} has {given} fields, its header {len(columns)}; "
                    'put captions with commas into "quotes"'
                )
            yield line, _file_name(path, line, entry), _text(path, line, text_column, entry[text_column])
    except csv.Error as error:
        raise ConfigError(f"{path} line {reader.reader.line_num} is no CSV ({error})") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, content in enumerate(file, 1):
                yield line, content
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (after line {line}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error


def _file_name(path: Path, line: int, entry: dict) -> str:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{path} line {line} must name an image in file_name; it has {', '.join(map(str, entry))}")
    return name.strip()


def _text(path: Path, line: int, column: str, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{path} line {line}: {column} must be text, got {value!r}")
    text = (value or "").strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may hold half of a surrogate pair, which no tokenizer takes
        raise ConfigError(f"{path} line {line}: {column} holds half a character, {text!r}") from error
    return text


def _no_column(path: Path, text_column: str, columns: list[str]) -> ConfigError:
    return ConfigError(
        f"{path} has no column {text_column} (data.text_column); it has {', '.join(columns) or 'none'}; "
        "set data.text_column=…"
    )
