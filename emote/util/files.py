"""Writing files so that an interruption at any moment leaves the old one or the new one, never half of one."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it, once written and on disk, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
