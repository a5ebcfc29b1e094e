"""safetensors files: look at one without trusting it, and write one so that equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from emote.util.errors import ConfigError
from emote.util.files import replacing, tensor_header

Tensors = Mapping[str, torch.Tensor]
Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes; the library's own limit
UNREAD = "which can run code when it is opened, and was not read; ask its maker for safetensors"
FIRST_BYTES = (
    (b"\x80", f"a pickle (.ckpt, .pt, .bin), {UNREAD}"),
    (b"PK\x03\x04", f"a zip, as torch packs pickles (.ckpt, .pt, .bin), {UNREAD}"),
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself; run git lfs pull"),
    (b"GGUF", "a GGUF file, which is not supported; a safetensors file is needed"),
    (b"<", "a web page: the download went wrong"),
)


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds, without its tensors: (dtype, shape) by name, and the texts in its header."""

    shapes: Shapes
    metadata: dict[str, str]
    size_bytes: int


def look(path: Path) -> Header:
    """Read the header alone. Raises ConfigError, having read no further, where it is no whole safetensors file."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(64)
        length = int.from_bytes(start[:8], "little")
        # asked first: a header's length may begin with the bytes of a pickle
        if start[8:9] != b"{" or length > LONGEST_HEADER:
            raise ConfigError(f"{path} is {_what(start)}")
        if 8 + length > size:
            raise ConfigError(f"{path} is cut off: {size} bytes are there, its header alone has {8 + length}")
        stream.seek(8)
        promised = 8 + length + _end(stream.read(length))
    if promised > size:
        raise ConfigError(f"{path} is cut off: {size} bytes are there, its header promises {promised}")
    try:
        with safe_open(str(path), framework="pt") as file:  # checks every offset
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            shapes = {name: (_dtype(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
            return Header(shapes, dict(file.metadata() or {}), size)
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts in a safetensors file's header."""
    return look(path).metadata


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> Path:
    """Write all tensors at once; returns the path. See `write_streamed`."""
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return write_streamed(path, shapes, tensors.__getitem__, metadata)


def write_streamed(
    path: Path, shapes: Shapes, make: Callable[[str], torch.Tensor], metadata: Mapping[str, str]
) -> Path:
    """Atomically write the tensors that `make` returns by name, one at a time, so that one is in memory; returns path.

    The order is by name, the texts of the header too: equal content gives equal bytes.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **{key: str(value) for key, value in metadata.items()}}}
    offset = 0
    for name in _order(shapes):
        dtype, shape = shapes[name]
        end = offset + dtype.itemsize * torch.Size(shape).numel()
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(tensor_header(header))
        for name in _order(shapes):
            tensor = make(name)
            assert (tensor.dtype, tuple(tensor.shape)) == tuple(shapes[name]), name
            file.write(_bytes(tensor))
    return path


def content_hash(tensors: Tensors) -> str:
    """SHA-256 of a file's bytes after the header: ModelSpec's `hash_sha256`, kohya's `sshs_model_hash`."""
    digest = hashlib.sha256()
    for name in _order(tensors):
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _order(tensors: Mapping[str, Any]) -> Iterator[str]:
    """Wide types first, which aligns each tensor; then by name."""

    def width(name: str) -> int:
        entry = tensors[name]
        return (entry.dtype if isinstance(entry, torch.Tensor) else entry[0]).itemsize

    return iter(sorted(tensors, key=lambda name: (-width(name), name)))


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ValueError(f"numbers of the unknown kind {name}")
    return DTYPES[name]


def _end(text: bytes) -> int:
    """Where the last tensor ends after the header; 0 where that cannot be read (the library then says why)."""
    try:
        entries = json.loads(text)
        return max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return 0


def _what(start: bytes) -> str:
    if not start:
        return "empty"
    words = next((words for first, words in FIRST_BYTES if start.lstrip().startswith(first)), None)
    return words or "no safetensors file, the only kind that is read"
