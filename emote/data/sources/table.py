"""A .csv or .jsonl whose images lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from emote.config import DataConfig
from emote.data.item import Found, Item, Skipped
from emote.data.naming import concept_of
from emote.data.reading.files import printable
from emote.data.reading.tables import FILE_KEYS, TABLES, Columns, read_table
from emote.data.reading.wording import caption_of, needs_words, spoken
from emote.util.errors import ConfigError

PATH = "a .csv or .jsonl"  # what data.path must name


def read_source(data: DataConfig) -> Found:
    """Return every line of `data.path` whose image is there: paths are relative to the table, or absolute.

    Raises ConfigError for a table that is not there or is malformed, with its line.
    """
    path = Path(data.path or "").expanduser()
    if not path.is_file():
        what = "is a directory; set data=folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"data.path={data.path} {what}; data=table wants a .csv or .jsonl")
    if path.suffix.lower() not in (*TABLES, ".json"):
        raise ConfigError(f"data.path={data.path} must be a .csv, .tsv, .jsonl or .json when data=table")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"data.path={data.path} cannot be read ({error.strerror})") from error
    found = Found()
    names: Sequence[str] = FILE_KEYS if data.image_column in ("image", "file_name") else (data.image_column,)
    columns = Columns(data.text_column, data.repeats, names)
    for row in read_table(content, str(path), path.suffix.lower(), columns, found.notes):
        if row.file.startswith(("http:", "https:")):
            reason = "an address: nothing is downloaded; save the images and name the files"
            found.skipped.append(Skipped(row.file, reason))
            continue
        file = Path(row.file.replace("\\", "/")).expanduser()
        file = file if file.is_absolute() else path.parent / file
        shown = printable(row.file)
        texts = [spoken(text, found.notes, shown) for text in row.texts]
        good = [text for text in texts if text or not needs_words(data)]
        if not good:
            found.skipped.append(Skipped(shown, "its caption is empty"))
        for text in good:
            caption = caption_of(data, text if needs_words(data) else "")
            read = partial(Path.read_bytes, file)
            found.items.append(Item(shown, caption, concept_of(text or shown), read, "table", row.repeats or 1.0))
    if not found.items and not found.skipped:
        raise ConfigError(f"data.path={data.path} has no lines")
    return found
