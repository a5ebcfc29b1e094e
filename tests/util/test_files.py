from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emote.util.files import replacing, write_json, write_text, write_with


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
