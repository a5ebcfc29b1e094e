"""What W&B wrote to disk, read back: its own records, from the file that `wandb sync` uploads.

The file is a LevelDB log (blocks of 32 KiB, records in pieces with checksums) of protocol-buffer messages. Older
releases of W&B brought a reader of such files along in Python, newer ones read them in their compiled part; the
messages are parsed with W&B's own classes, and the checksums are compared.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
FIRST_BYTES = b":W&B\xe1\xbe\x00"
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Log:
    """history: the rows in order. config: as it was at the end. artifacts: (name, type, aliases, files)."""

    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    notes: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    artifacts: list[tuple[str, str, list[str], list[str]]] = field(default_factory=list)
    exited: bool = False

    def at(self, step: int) -> dict[str, Any]:
        """Everything that was logged at a step of training."""
        found: dict[str, Any] = {}
        for row in self.history:
            if row.get("trainer/global_step") == step:
                found |= row
        return found

    def steps_of(self, name: str) -> list[int]:
        return [row["trainer/global_step"] for row in self.history if name in row]


def read_log(file: Path) -> Log:
    from wandb.proto import wandb_internal_pb2

    log = Log()
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            log.run_id, log.name, log.notes = record.run.run_id, record.run.display_name, record.run.notes
            log.group, log.job_type = record.run.run_group, record.run.job_type
            _update(log.config, record.run.config.update)
        elif kind == "config":
            _update(log.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            log.history.append(row)
        elif kind == "request" and record.request.HasField("log_artifact"):
            _add_artifact(log, record.request.log_artifact.artifact)
        elif kind == "artifact":
            _add_artifact(log, record.artifact)
        elif kind == "exit":
            log.exited = True
    return log


def _add_artifact(log: Log, artifact: Any) -> None:
    files = sorted(entry.path for entry in artifact.manifest.contents)
    log.artifacts.append((artifact.name, artifact.type, list(artifact.aliases), files))


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        keys, inner = list(item.nested_key) or [item.key], values
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = json.loads(item.value_json)


def _records(content: bytes) -> Iterator[bytes]:
    assert content[:7] == FIRST_BYTES, content[:7]
    at, whole = 7, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", content, at)
        piece = content[at + HEADER : at + HEADER + length]
        assert checksum == zlib.crc32(bytes([kind]) + piece), "a record is damaged"
        at += HEADER + length
        whole = piece if kind in (WHOLE, FIRST) else whole + piece
        if kind in (WHOLE, LAST):
            yield whole
