"""A data set of the Hugging Face Hub, or a local directory in its layout."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emote.config import DataConfig
from emote.data.item import Item, Skipped
from emote.data.naming import concept_of
from emote.util.errors import ConfigError
from emote.util.places import TRAIN, how_to_install

INSTEAD = f"to train without the Hub: {TRAIN} experiment=quickstart"


def hub_items(data: DataConfig) -> tuple[list[Item], list[Skipped]]:
    """Every captioned row of `data.path`, in its order; those without a caption with the reason.

    Images stay encoded and on disk until they are read. Raises ConfigError for a data set that is missing,
    gated or out of reach, for a split or column that it lacks, and where `datasets` is not installed.
    """
    rows = _load(data)
    for key, column in (("image_column", data.image_column), ("text_column", data.text_column)):
        if column not in rows.column_names:
            raise ConfigError(
                f"data.{key}={column} is no column of {data.path}; it has {', '.join(rows.column_names)}; "
                f"set data.{key}=…"
            )
    images = _undecoded(rows, data)
    items, skipped = [], []
    for index, text in enumerate(rows.with_format(None)[data.text_column]):
        name = f"{data.split}[{index}]"
        if text is not None and not isinstance(text, str):
            raise ConfigError(
                f"data.text_column={data.text_column} of {data.path} holds {type(text).__name__}, not text; "
                f"its columns are {', '.join(rows.column_names)}"
            )
        text = (text or "").strip()
        if not text:
            skipped.append(Skipped(name, "its caption is empty"))
            continue
        read = partial(_read, images, index, data.image_column)
        items.append(Item(name=name, caption=data.caption.format(text=text), concept=concept_of(text), read=read))
    return items, skipped


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
            return datasets.load_dataset(path, split=data.split, revision=data.revision)
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
    import datasets

    try:
        return rows.select_columns([data.image_column]).cast_column(data.image_column, datasets.Image(decode=False))
    except Exception as error:
        raise ConfigError(
            f"data.image_column={data.image_column} of {data.path} holds no images "
            f"but {rows.features[data.image_column]}; its columns are {', '.join(rows.column_names)}"
        ) from error


def _read(images: Any, index: int, column: str) -> bytes:
    image = images[index][column]
    if image is None:
        raise FileNotFoundError("the row holds no image")
    if image.get("bytes") is not None:
        return image["bytes"]
    if not image.get("path"):
        raise FileNotFoundError("the row holds no image")
    return Path(image["path"]).read_bytes()
