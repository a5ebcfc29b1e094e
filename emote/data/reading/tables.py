"""Tables that name images and their captions: JSON lines and CSV, of any usual dialect."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from emote.data.item import Tally
from emote.data.reading.text import TEXT_KEYS, decode_text, is_sound
from emote.util.errors import ConfigError

FILE_KEYS = ("file_name", "filename", "file", "image", "image_file", "image_path", "img", "path", "file_path")
REPEAT_KEYS = ("repeats", "num_repeats", "weight")
AUTO, NONE = "auto", "none"
TABLES = (".jsonl", ".csv", ".tsv", ".json1", ".ndjson")


class Row(NamedTuple):
    """One line: where it stands, which image it names, its captions (empty ones too), how often it counts."""

    where: str
    file: str
    texts: tuple[str, ...]
    repeats: float | None = None


@dataclass
class Columns:
    """What columns are called. text: `data.text_column`.  repeats: `data.repeats`.  files: where images stand."""

    text: str
    repeats: Any = AUTO
    files: Sequence[str] = field(default=FILE_KEYS)

    def text_in(self, columns: Sequence[str]) -> str | None:
        """Return the caption's column: the one that was asked for, or where that is the default `text`, a usual one."""
        if self.text in columns:
            return self.text
        return next((name for name in TEXT_KEYS if name in columns), None) if self.text == "text" else None

    def repeats_in(self, columns: Sequence[str]) -> str | None:
        if isinstance(self.repeats, str) and self.repeats not in (AUTO, NONE):
            return self.repeats if self.repeats in columns else None
        return next((name for name in REPEAT_KEYS if name in columns), None) if self.repeats == AUTO else None


def read_table(data: bytes, path: str, suffix: str, wanted: Columns, notes: Tally) -> Iterator[Row]:
    """The rows of a table; path: what messages call it. Raises ConfigError for malformed ones, with file and line."""
    try:
        text, encoding = decode_text(data)
    except ValueError as error:
        raise ConfigError(f"{path} is not text in UTF-8, UTF-16 or cp1252; save it as UTF-8") from error
    if encoding == "cp1252":
        notes.add(
            "{n} files are not UTF-8 and were read as cp1252; if their captions look wrong, save them as UTF-8", path
        )
    read = _csv if suffix in (".csv", ".tsv") else _json if suffix == ".json" else _jsonl
    entries = read(text, path, wanted)
    texts, columns = 0, dict[str, None]()
    for line, entry in entries:
        columns.update(dict.fromkeys(map(str, entry)))
        column = wanted.text_in(list(entry))
        texts += column is not None
        if column not in (None, wanted.text):
            notes.add(f"captions are read from the column {column}, since there is no column text ({{n}} lines)", path)
        where = f"{path} line {line}"
        yield Row(
            where,
            _file_of(where, entry, wanted.files),
            _texts_of(where, column or wanted.text, entry.get(column) if column else None),
            _repeats_of(where, entry, wanted),
        )
    if columns and not texts:
        raise no_column(path, wanted.text, list(columns))


def _jsonl(text: str, path: str, wanted: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.splitlines() if "\n" not in text else text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            entry = json.loads(content)
        except json.JSONDecodeError as error:
            whole = "; one list for all lines is read as .json: rename it" if content.strip() in ("[", "{") else ""
            raise ConfigError(f"{path} line {line} is not JSON ({error.msg} at column {error.colno}){whole}") from error
        except (RecursionError, ValueError) as error:
            raise ConfigError(f"{path} line {line} is not readable JSON ({error})") from error
        if not isinstance(entry, dict):
            raise ConfigError(f"{path} line {line} must be an object with file_name and {wanted.text}")
        yield line, entry


def _json(text: str, path: str, wanted: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        entries = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not JSON ({error})") from error
    if isinstance(entries, dict):  # kohya's meta_cap.json: names to captions
        entries = [{"file_name": name, **(entry if isinstance(entry, dict) else {wanted.text: entry})}
                   for name, entry in entries.items()]  # fmt: skip
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path} must be a list of objects with file_name and {wanted.text}")
    yield from enumerate(entries, 1)


def _csv(text: str, path: str, wanted: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    if "\0" in text:
        raise ConfigError(f"{path} is not CSV: it holds null bytes")
    lines = text.splitlines(keepends=True)
    header = lines[0] if lines else ""
    # the separator that splits the header most: exports of spreadsheets have ; where commas stand in numbers
    delimiter = max(",;\t|", key=lambda mark: (header.count(mark), mark == ","))
    reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        if wanted.text_in(columns) is None:
            raise no_column(path, wanted.text, columns)
        for entry in reader:
            if None in entry or None in entry.values():
                given = sum(value is not None for key, value in entry.items() if key) + len(entry.get(None, ()))
                raise ConfigError(
                    f"{path} line {reader.line_num} has {given} fields, its header {len(columns)}; "
                    'put captions with commas into "quotes"'
                )
            yield reader.line_num, entry
    except csv.Error as error:
        raise ConfigError(f"{path} line {reader.reader.line_num} is not CSV ({error})") from error


def _file_of(where: str, entry: dict[str, Any], names: Sequence[str]) -> str:
    for name in names:
        value = entry.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise ConfigError(f"{where} must name an image in {names[0]}; it has {', '.join(map(str, entry)) or 'nothing'}")


def _texts_of(where: str, column: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) and value else [value]
    for one in values:
        if one is not None and not isinstance(one, str):
            raise ConfigError(f"{where}: {column} must be text, got {one!r}")
        if one and not is_sound(one):
            raise ConfigError(f"{where}: {column} holds half a character, {one!r}")
    return tuple((one or "").strip() for one in values)


def _repeats_of(where: str, entry: dict[str, Any], wanted: Columns) -> float | None:
    column = wanted.repeats_in(list(entry))
    if column is None or entry[column] in (None, ""):
        return None
    try:
        number = float(entry[column])
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number <= 1000:
        raise ConfigError(f"{where}: {column} must be a number above 0 and at most 1000, got {entry[column]!r}")
    return number


def no_column(path: str, text_column: str, columns: list[str]) -> ConfigError:
    return ConfigError(
        f"{path} has no column {text_column} (data.text_column); it has {', '.join(columns) or 'none'}; "
        "set data.text_column=…"
    )
