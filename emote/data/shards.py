"""Immutable files of tensor rows, addressed by their content: what both caches are made of.

A row belongs to a key (a SHA-256 in hex). Keys are grouped by their leading bits, so that one key more
changes one group; a group is one safetensors file, whose name is a hash of the recipe and of the keys.
So a file that exists is right, whoever wrote it, and a build that was killed goes on with the next one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emote.util.errors import ConfigError
from emote.util.files import hash_rest, tensor_header

log = logging.getLogger(__name__)

FORMAT = 1
MOST_KEYS = 128  # one file: about 64 to 128 rows, minutes of work at most, and 8 to 250 MB
WAIT_SECONDS = 1.0

Group = tuple[str, ...]
Rows = tuple[dict[str, Tensor], dict[str, str]]
"""One file's content: tensors [n, ...] with a row for each good key of the group, in order; and bad keys, with why."""
Make = Callable[[list[Group], Callable[[int], None]], Generator[Rows, None, None]]
"""Makes the rows of each group, in order; calls its second argument with the number of keys just done."""


class Damaged(Exception):
    """A file that does not hold what its checksum says."""


@dataclass(frozen=True)
class Shard:
    """One file that was verified. keys: of its rows, in order.  shapes: of one row of each tensor."""

    path: Path
    keys: Group
    bad: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


class Shards:
    """Rows by key, from memory-mapped files that are opened when first read. Can be pickled, for workers."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = list(shards)
        self._place = {key: (n, row) for n, shard in enumerate(self._shards) for row, key in enumerate(shard.keys)}
        self._open: dict[int, Any] = {}
        self.bad = {key: reason for shard in self._shards for key, reason in shard.bad.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def row(self, name: str, key: str, *index: int) -> Tensor:
        """Return a copy of the row of tensor `name` that belongs to `key`, or of what stands at `index` in it.

        Raises KeyError for a key without a row.
        """
        shard, row = self._place[key]
        if shard not in self._open:
            self._open[shard] = safe_open(self._shards[shard].path, framework="pt")
        return self._open[shard].get_slice(name)[(row, *index)].clone()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of `name`. Raises LookupError where no key is good."""
        for shard in self._shards:
            if shard.keys:
                return shard.shapes[name]
        raise LookupError("the cache holds no rows: every key is bad")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # mappings belong to one process


def group_keys(keys: Iterable[str], most: int) -> list[Group]:
    """Distinct keys, sorted, in groups of at most `most` that share their leading bits.

    A group that is too large is halved by the next bit, on its own: a key more or less changes one group.
    """

    def halve(part: list[str], bit: int) -> Iterator[Group]:
        if len(part) <= most:
            if part:
                yield tuple(part)
            return
        halves: tuple[list[str], list[str]] = ([], [])
        for key in part:
            halves[int(key, 16) >> (4 * len(key) - 1 - bit) & 1].append(key)
        for half in halves:
            yield from halve(half, bit + 1)

    return list(halve(sorted(set(keys)), 0))


def complete(
    keys: Iterable[str], directory: Path, recipe: Mapping[str, Any], make: Make, unit: str, workers: int = 1
) -> Shards:
    """Return the shards of all keys, those that are missing or damaged made anew.

    recipe: everything but the key that a row depends on, as JSON values.  unit: what messages call the rows.
    workers: threads that verify checksums. One process builds at a time; another one waits, then reads what
    was built. Raises ConfigError where `directory` cannot be written or is full.
    """
    recipe = {"format": FORMAT, **recipe}
    wanted = _files(keys, directory, recipe)
    found, damaged = _verified(wanted, workers)
    if len(found) < len(wanted):
        lock = directory / f"{_hash(recipe)[:16]}.lock"
        with _writing_to(directory), _alone(lock, unit):
            for left in directory.glob(f"{lock.stem}.*.tmp"):  # of a build that was killed: we hold its lock
                left.unlink()
            missing = {path: group for path, group in wanted.items() if path not in found}
            late, damaged = _verified(missing, workers)  # what another process built while we waited
            found |= late
            for path, reason in damaged.items():
                log.warning("%s is damaged (%s); its %s are encoded again", path, reason, unit)
                path.unlink()
            missing = {path: group for path, group in missing.items() if path not in found}
            if missing:
                found |= _build(missing, lock, recipe, make, unit)
    return Shards(found[path] for path in wanted)


def existing(keys: Iterable[str], directory: Path, recipe: Mapping[str, Any]) -> Shards:
    """Return what `complete` would find, by the files' headers alone: no checksum is verified, nothing is made."""
    found = []
    for path, group in _files(keys, directory, {"format": FORMAT, **recipe}).items():
        if path.exists():
            with suppress(SafetensorError, OSError, ValueError, KeyError, TypeError), safe_open(path, "pt") as file:
                bad = json.loads(file.metadata()["bad"])
                found.append(Shard(path, tuple(key for key in group if key not in bad), bad, {}))
    return Shards(found)


def _files(keys: Iterable[str], directory: Path, recipe: Mapping[str, Any]) -> dict[Path, Group]:
    return {directory / f"{_hash([recipe, group])}.safetensors": group for group in group_keys(keys, MOST_KEYS)}


def _build(missing: dict[Path, Group], lock: Path, recipe: Mapping, make: Make, unit: str) -> dict[Path, Shard]:
    built: dict[Path, Shard] = {}
    total = sum(len(group) for group in missing.values())
    groups = list(missing.values())
    with _progress(f"encoding {unit}", total) as advance, closing(make(groups, advance)) as made:
        for (path, group), (tensors, bad) in zip(missing.items(), made, strict=True):
            parts = _serialise(tensors, bad, group, recipe)
            size = sum(map(len, parts))
            left = total - sum(len(shard.keys) + len(shard.bad) for shard in built.values())
            _write(path, parts, lock, size, whole_bytes=size * left // len(group))
            shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
            built[path] = Shard(path, tuple(key for key in group if key not in bad), bad, shapes)
    return built


def _serialise(
    tensors: dict[str, Tensor], bad: dict[str, str], group: Group, recipe: Mapping
) -> list[bytes | memoryview]:
    """The file, in parts. The same content gives the same bytes."""
    good = len(group) - len(bad)
    assert all(len(tensor) == good for tensor in tensors.values()), "one row for each good key"
    bare = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    start = 8 + int.from_bytes(bare[:8], "little")
    rows = memoryview(bare)[start:]
    metadata = {"keys": json.dumps(group), "bad": _json(bad), "recipe": _json(recipe)}
    digest = _content_hash(metadata)
    digest.update(rows)
    return [
        tensor_header({**json.loads(bare[8:start]), "__metadata__": {**metadata, "sha256": digest.hexdigest()}}),
        rows,
    ]


def _content_hash(metadata: Mapping[str, str]) -> Any:
    return hashlib.sha256("\0".join(metadata[name] for name in ("keys", "bad", "recipe")).encode())


def _verified(wanted: Mapping[Path, Group], workers: int) -> tuple[dict[Path, Shard], dict[Path, str]]:
    """Of the wanted files those that exist and are right, and those that exist and are damaged, with why."""
    found: dict[Path, Shard] = {}
    damaged: dict[Path, str] = {}

    def look(path: Path) -> Shard | str | None:
        try:
            return verify(path, wanted[path])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Damaged as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        for path, result in zip(wanted, pool.map(look, wanted), strict=True):
            if isinstance(result, Shard):
                found[path] = result
            elif result is not None:
                damaged[path] = result
    return found, damaged


def verify(path: Path, group: Group) -> Shard:
    """Read a file in chunks against its checksum. Raises Damaged, or OSError where it cannot be read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if size < 8 or header_bytes > size - 8:
            raise Damaged("it is cut off")
        try:
            header = json.loads(file.read(header_bytes))
            metadata = header.pop("__metadata__")
            keys, bad, expected = json.loads(metadata["keys"]), json.loads(metadata["bad"]), metadata["sha256"]
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            shapes = {name: tuple(entry["shape"][1:]) for name, entry in header.items()}
            rows = {entry["shape"][0] for entry in header.values()}
            digest = _content_hash(metadata)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise Damaged("its header cannot be read") from error
        if size - 8 - header_bytes != end:
            raise Damaged(f"it is {size:,} bytes, not {8 + header_bytes + end:,}")
        checksum = hash_rest(file, digest)
    good = tuple(key for key in group if key not in bad)
    if checksum != expected or tuple(keys) != group or rows != {len(good)}:
        raise Damaged("its checksum is wrong")
    return Shard(path, good, bad, shapes)


def _write(path: Path, parts: list[bytes | memoryview], lock: Path, size: int, whole_bytes: int) -> None:
    """Write all or nothing: a reader, or the next build, never sees half a file."""
    temporary = path.with_name(f"{lock.stem}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise ConfigError(
                f"no space is left in {path.parent}: the next file needs {size:,} bytes, all that is missing "
                f"about {whole_bytes:,}, and {free:,} are free; make room, or set run.cache_dir=<a larger disk>"
            ) from error
        raise


@contextmanager
def _writing_to(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be made ({error.strerror}); set run.cache_dir=…") from error
    if not os.access(directory, os.W_OK):
        raise ConfigError(f"{directory} cannot be written to; set run.cache_dir=…")
    yield


@contextmanager
def _alone(path: Path, unit: str) -> Iterator[None]:
    """Hold the lock, which the system gives back if we are killed; say so where it has to be waited for."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        log.warning("another process is encoding these %s in %s; waiting for it", unit, path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:

    from emote.util.console import make_console, progress_bar

    with progress_bar(make_console(stderr=True), shown=True) as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda number: progress.advance(task, number)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _hash(value: Any) -> str:
    return hashlib.sha256(_json(value).encode()).hexdigest()
