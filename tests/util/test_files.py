from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save, save_file

from emote.runs.damage import tensors_damage
from emote.util import files
from emote.util.errors import ConfigError
from emote.util.files import (
    NoRoom,
    append_text,
    patiently,
    replacing,
    sealed,
    write_json,
    write_text,
    write_with,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_written_is_there_whole_and_alone(tmp_path: Path) -> None:
    text = "🦊 – ligne\n" * 10_000
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode()
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_replaces_a_longer_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "long" * 1000)
    write_text(tmp_path / "a.txt", "short")
    assert (tmp_path / "a.txt").read_text() == "short"
    assert names(tmp_path) == ["a.txt"]


def test_missing_directories_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "one" / "two" / "a.txt", "x")
    assert (tmp_path / "one" / "two" / "a.txt").read_text() == "x"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupted_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_the_new_file_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename between disks would not be one step
    assert path.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from emote.util.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=300).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_function_that_saves_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_with(path, lambda temporary: temporary.write_bytes(b"old") and None)
    with pytest.raises(FileNotFoundError):
        write_with(path, lambda temporary: None)
    assert path.read_bytes() == b"old"


def test_json_is_readable_text_that_ends_in_a_line(tmp_path: Path) -> None:
    value = {"name": "🦊 Füchse", "values": [1, 0.1, None]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "🦊 Füchse" in text and text.endswith("}\n")


def test_what_json_cannot_say_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"path": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert names(tmp_path) == ["a.json"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of its own with 64 kB, where this process may mount one."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


LARGE: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 200_000),
    "torch": lambda path: torch.save({"x": torch.randn(50_000)}, path),
    "safetensors": lambda path: save_file({"x": torch.randn(50_000)}, path),
    "image": lambda path: Image.effect_noise((500, 500), 90).save(path, format="PNG"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_full_disk_is_told_in_a_sentence_whatever_writes(full_disk: Path, kind: str) -> None:
    write_text(full_disk / "file", "old")
    with pytest.raises(NoRoom, match=rf"^{full_disk}/file cannot be written: no space is left on its disk; make room"):
        write_with(full_disk / "file", LARGE[kind])
    assert [path.name for path in full_disk.iterdir()] == ["file"] and (full_disk / "file").read_text() == "old"


def test_what_is_appended_to_a_full_disk_is_there_whole_or_not_at_all(full_disk: Path) -> None:
    append_text(full_disk / "file", "a line\n")
    (full_disk / "rest").write_bytes(b"x" * 50_000)
    with pytest.raises(NoRoom):
        append_text(full_disk / "file", "y" * 100_000)
    assert (full_disk / "file").read_text() == "a line\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_where_room_is_made_it_is_written_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    fsync, left = os.fsync, [3]

    def sometimes(descriptor: int) -> None:
        left[0] -= 1
        if left[0] > 0:
            raise OSError(number, "full")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sometimes)
    monkeypatch.setattr(files, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(logging.getLogger("emote"), "propagate", True)
    patiently(lambda: write_text(tmp_path / "file", "new"))
    assert (tmp_path / "file").read_text() == "new"
    records = {id(record): record.message.split(":")[0] for record in caplog.records}  # one may be heard twice
    assert list(records.values()) == ["waiting up to 10 minutes for room"]
    left[0] = 10
    with pytest.raises(NoRoom):
        patiently(lambda: write_text(tmp_path / "other", "new"), for_s=0.0)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_where_nobody_may_write_it_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def denied(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(ConfigError, match=rf"file cannot be written \({os.strerror(number)}\); give yourself"):
        patiently(lambda: write_text(tmp_path / "file", "new"))


def test_a_file_where_a_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigError, match=r"runs/x/file cannot be written \(Not a directory\)"):
        write_text(tmp_path / "runs" / "x" / "file", "new")


def test_other_errors_are_raised_as_they_are(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise ValueError("another matter")

    with pytest.raises(ValueError, match="another matter"):
        write_with(tmp_path / "file", fail)


def test_a_sealed_file_tells_any_bit_that_changes_its_tensors(tmp_path: Path) -> None:
    tensors = {"x": torch.randn(20), "y": torch.ones(3, 2)}
    content, file, told = sealed(save(tensors)), tmp_path / "best.safetensors", 0
    file.write_bytes(content)
    assert tensors_damage(file) is None and set(load_file(file)) == {"x", "y"}
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        if tensors_damage(file):
            told += 1
        else:  # in a space, or in the name of the checksum
            read = load_file(file)
            assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items()) and len(read) == 2
    assert told > 0.9 * len(content) * 8
