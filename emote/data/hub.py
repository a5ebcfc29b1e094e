"""A data set of the Hugging Face Hub, or a local directory in its layout."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emote.config import DataConfig
from emote.data.item import Found, Item, Skipped
from emote.data.naming import concept_of
from emote.data.reading.names import words_of
from emote.data.reading.tables import Columns
from emote.data.reading.text import TEXT_KEYS
from emote.data.reading.wording import caption_of, needs_words, spoken
from emote.util.errors import ConfigError
from emote.util.places import TRAIN, how_to_install

INSTEAD = f"to train without the Hub: {TRAIN} experiment=quickstart"


def hub_items(data: DataConfig) -> Found:
    """Return every captioned row of `data.path`, in its order; those without a caption with the reason.

    Captions may be text, lists of text (an item for each), or classes, which count by their names. Images stay encoded
    and where they are until they are read. Raises ConfigError for a data set that is missing, gated or out of reach,
    for a split or column that it lacks, and where `datasets` is not installed.
    """
    rows = _load(data)
    found = Found()
    text_column = _text_column(rows, data, found)
    for key, column in (("image_column", data.image_column), ("text_column", text_column)):
        if column not in rows.column_names:
            raise ConfigError(
                f"data.{key}={column} is not a column of {data.path}; it has {', '.join(rows.column_names)}; "
                f"set data.{key}=…"
            )
    images = _undecoded(rows, data)
    classes = _classes(rows, text_column)
    repeats = _repeats(rows, data)
    for index, value in enumerate(rows.with_format(None)[text_column]):
        name = f"{data.split}[{index}]"
        if classes is not None and isinstance(value, int):
            value = words_of(classes[value]) or classes[value] if 0 <= value < len(classes) else None
        values = value if isinstance(value, list) else [value]
        if not all(text is None or isinstance(text, str) for text in values):
            raise ConfigError(
                f"data.text_column={text_column} of {data.path} holds {type(value).__name__}, not text; "
                f"its columns are {', '.join(rows.column_names)}"
            )
        texts = [spoken(text, found.notes, name) for text in values if text]
        good = [text for text in dict.fromkeys(texts) if text or not needs_words(data)]
        if not good and not needs_words(data):
            good = [""]
        if not good:
            found.skipped.append(Skipped(name, "its caption is empty"))
        read = partial(_read, images, index, data.image_column, Path(data.path or "").expanduser())
        for text in good:
            caption = caption_of(data, text if needs_words(data) else "")
            origin = "classes" if classes is not None else "the data set's column"
            weight = 1.0 if repeats is None else repeats[index]
            found.items.append(Item(name, caption, concept_of(text or name), read, origin, weight))
    return found


def _text_column(rows: Any, data: DataConfig, found: Found) -> str:
    """`data.text_column`, or where that is the default `text` and there is none, a usual one."""
    if data.text_column == "text" and "text" not in rows.column_names:
        other = next((name for name in (*TEXT_KEYS, "labels") if name in rows.column_names), None)
        if other and (_classes(rows, other) is not None or other not in ("label", "labels")):
            found.notes.add(f"captions are read from the column {other}, since there is no column text")
            return other
    return data.text_column


def _classes(rows: Any, column: str) -> list[str] | None:
    return getattr(rows.features.get(column), "names", None)


def _repeats(rows: Any, data: DataConfig) -> list[float] | None:
    column = Columns(data.text_column, data.repeats).repeats_in(rows.column_names)
    if column is None:
        return None
    values = [1.0 if value is None else value for value in rows.with_format(None)[column]]
    wrong = next(
        (v for v in values if isinstance(v, bool) or not isinstance(v, (int, float)) or not 0 < v <= 1000), None
    )
    if wrong is not None:
        raise ConfigError(
            f"data.repeats: {column} of {data.path} must hold numbers above 0 and at most 1000, got {wrong!r}"
        )
    return [float(value) for value in values]


def _load(data: DataConfig) -> Any:
    if not data.path:
        raise ConfigError("data.path must name a data set when data=hub; set data.path=…")
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"data=hub needs the package datasets: {how_to_install('hub')}; {INSTEAD}") from error
    local = Path(data.path).expanduser()
    path = str(local) if local.exists() else data.path
    try:
        with _no_retries_when_offline(needed=not local.exists()):
            # a data set that wants code of its own to run is refused by `datasets` itself, and that stays so
            return datasets.load_dataset(path, name=data.config, split=data.split, revision=data.revision)
    except Exception as error:  # the library raises a dozen kinds, some of them private
        raise ConfigError(_explain(data, error, local=local.exists())) from error


def _explain(data: DataConfig, error: Exception, local: bool) -> str:
    said = " ".join(str(error).split())
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "gated" in said.lower():
        return (
            f"data.path={data.path} is gated: accept its terms on its page of the Hub, then log in with "
            f"`hf auth login`;\n{INSTEAD}"
        )
    if ("Config name is missing" in said or "BuilderConfig" in said) and isinstance(error, ValueError):
        wrong = f"data.config={data.config} is none of them" if data.config else "set data.config=<one of them>"
        return f"data.path={data.path} has several configurations ({said[:300]}); {wrong}"
    if "split" in said.lower() and isinstance(error, ValueError):
        return f"data.split={data.split} cannot be had from {data.path} ({said[:200]})"
    if "DatasetNotFoundError" in kinds:
        where = f" at revision {data.revision}" if data.revision else ""
        return f"data.path={data.path} is no data set on the Hub{where} (or a private one: `hf auth login`);\n{INSTEAD}"
    if isinstance(error, (ConnectionError, TimeoutError)) or "Offline" in f"{kinds} {said}":
        return f"data.path={data.path} is not on this machine, and the Hub cannot be reached;\n{INSTEAD}"
    if isinstance(error, FileNotFoundError) or "DataFilesNotFoundError" in kinds:
        what = "holds no data files in the Hub's layout (such as parquet)" if local else "does not exist"
        return f"data.path={data.path} {what};\nfor a directory of images set data=folder; {INSTEAD}"
    return f"data.path={data.path} cannot be loaded ({type(error).__name__}: {said[:200]});\n{INSTEAD}"


@contextmanager
def _no_retries_when_offline(needed: bool) -> Iterator[None]:
    """Where the Hub's name does not even resolve, look into the local cache at once.

    Otherwise the library retries for half a minute, with a dozen lines of warnings, before it does the same.
    """
    import datasets
    from huggingface_hub import constants

    if not needed or not _unresolvable(urlsplit(constants.ENDPOINT).hostname):
        yield
        return
    settings: list[Any] = [place for place in (constants, datasets.config) if hasattr(place, "HF_HUB_OFFLINE")]
    before = [place.HF_HUB_OFFLINE for place in settings]
    try:
        for place in settings:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(settings, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _unresolvable(host: str | None) -> bool:
    if not host or any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False  # behind a proxy it is the proxy that resolves
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return True
    return False


def _undecoded(rows: Any, data: DataConfig) -> Any:
    """The column of images, not decoded; text (paths, base64) stays as it is."""
    import datasets

    kind = rows.features[data.image_column]
    images = rows.select_columns([data.image_column])
    if getattr(kind, "dtype", None) in ("string", "large_string"):
        return images
    try:
        return images.cast_column(data.image_column, datasets.Image(decode=False))
    except Exception as error:
        raise ConfigError(
            f"data.image_column={data.image_column} of {data.path} holds no images but {kind}; "
            f"its columns are {', '.join(rows.column_names)}"
        ) from error


def _read(images: Any, index: int, column: str, root: Path) -> bytes:
    image = images[index][column]
    if isinstance(image, str):
        image = _from_text(image)
    if image is None:
        raise FileNotFoundError("the row holds no image")
    if image.get("bytes") is not None:
        return image["bytes"]
    path = image.get("path")
    if not path:
        raise FileNotFoundError("the row holds no image")
    if path.startswith(("http:", "https:")):
        raise FileNotFoundError("the row holds an address, and nothing is downloaded")
    if "://" in path:  # inside an archive, which the library reads
        import fsspec

        try:
            with fsspec.open(path, "rb") as file:
                return file.read()
        except Exception as error:  # as many kinds as there are file systems
            raise OSError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if not Path(path).is_absolute() and root.is_dir():
        path = root / path.replace("\\", "/")
    return Path(path).read_bytes()


def _from_text(text: str) -> dict[str, Any]:
    """A path, or the bytes of an image as base64, also as a data address."""
    body = text.partition("base64,")[2] if text.startswith("data:") else text
    if len(body) > 64:
        try:
            return {"bytes": base64.b64decode(body, validate=True)}
        except ValueError:
            pass
    return {"path": text}
