"""Writing files so that an interruption at any moment leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from safetensors import SafetensorError

from emote.util.errors import ConfigError

T = TypeVar("T")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
LITTLE = 2**20  # bytes: a disk with less is full
ROOM_S, LOOK_AGAIN_S = 600.0, 2.0  # how long a run waits for room, and how often it looks


class NoRoom(ConfigError):
    """A disk or a quota is full."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it, once written and on disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with told_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Raise NoRoom or ConfigError in place of what the system or a library raises where `path` cannot be written."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        if sentence := not_written(error, path):
            raise (NoRoom if is_full(error, path) else ConfigError)(sentence) from error
        raise


def not_written(error: BaseException, path: Path | None = None) -> str | None:
    """Return in one sentence why a file could not be written, None where the error is about something else.

    path: the file, where the error does not name it.
    """
    file = path or getattr(error, "filename", None)
    if is_full(error, path):
        where = file or "a file"
        return f"{where} cannot be written: no space is left on its disk; make room, then the same command goes on"
    if isinstance(error, OSError) and error.errno in DENIED and file:
        what = "written" if path else "read or written"
        return f"{file} cannot be {what} ({error.strerror}); give yourself the right to, or choose another directory"
    return None


def is_full(error: BaseException, path: Path | None = None) -> bool:
    """Return whether an error says that a disk or a quota is full; libraries of other languages say it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    if re.search(r"No space left|Disk quota|os error (28|122)\b", str(error)):
        return True
    if path is None or not (isinstance(error, RuntimeError) and re.search("write|iostream|unexpected pos", str(error))):
        return False  # torch says no more than this
    return shutil.disk_usage(_existing(path.parent)).free < LITTLE


def _existing(directory: Path) -> Path:
    return next(place for place in (directory, *directory.absolute().parents) if place.is_dir())


def patiently(write: Callable[[], T], for_s: float | None = None) -> T:
    """Return what `write` returns; where there is no room, say so once and try again for a while.

    Raises NoRoom after that.
    """
    until = time.monotonic() + (ROOM_S if for_s is None else for_s)
    told = False
    while True:
        try:
            return write()
        except NoRoom as error:
            if time.monotonic() > until:
                raise
            if not told:
                told = True
                logging.getLogger("emote").warning("waiting up to %.0f minutes for room: %s", ROOM_S / 60, error)
            time.sleep(LOOK_AGAIN_S)


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file: all of it or nothing. Raises NoRoom, and ConfigError where it may not be written."""
    with told_of(path), open(path, "a", encoding="utf-8") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            file.write(text)  # one short write: a killed process leaves all of it or nothing
            file.flush()
        except OSError:
            os.truncate(path, size)
            raise


def read_tensor_header(stream: IO[bytes]) -> dict[str, Any]:
    """Return the header of a safetensors file, read from its start; what follows are the tensors.

    Raises ValueError where it is none.
    """
    header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    return header


def tensor_header(header: Mapping[str, Any]) -> bytes:
    """A header as a file begins with it. Equal content gives equal bytes, which the library's own writer does not."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors by padding the header
    return len(text).to_bytes(8, "little") + text


CHECKSUM = "sha256"  # in the header of a safetensors file: of all else that is in the file


def sealed(content: bytes) -> bytes:
    """Return a safetensors file's bytes with a checksum in its header: damage can then be told by `is_sealed`."""
    stream = io.BytesIO(content)
    header = read_tensor_header(stream)
    tensors = content[stream.tell() :]
    metadata = {**header.get("__metadata__", {}), CHECKSUM: _checksum(header, stream)}
    return tensor_header({**header, "__metadata__": metadata}) + tensors


def is_sealed(header: Mapping[str, Any], stream: IO[bytes]) -> bool:
    """Return whether the checksum in a header, where there is one, is that of the header and what follows it."""
    told = header.get("__metadata__", {}).get(CHECKSUM)
    return told is None or told == _checksum(header, stream)


def _checksum(header: Mapping[str, Any], stream: IO[bytes]) -> str:
    metadata = {name: text for name, text in header.get("__metadata__", {}).items() if name != CHECKSUM}
    return hash_rest(stream, hashlib.sha256(tensor_header({**header, "__metadata__": metadata})))


def hash_rest(stream: IO[bytes], digest: Any) -> str:
    """Feed what is left of a stream to a hash of hashlib's; returns it in hex."""
    while block := stream.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def write_bytes(path: Path, content: bytes) -> Path:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, save: Callable[[Path], None]) -> None:
    """Atomically write `path` with a function that saves to the path it is given."""
    with replacing(path) as temporary:
        save(temporary)
