from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from emote.runs.listing import delete_run, list_runs, print_runs
from emote.runs.lock import Busy, run_lock
from emote.util.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent


def make_run(directory: Path, name: str, finished: int = 0, saved: int = 0, age_seconds: float = 60) -> Path:
    """A run's folder with one delivery and one checkpoint, where these are asked for."""
    root = directory / name
    root.mkdir(parents=True)
    (root / "arithmetic.json").write_text("{}")
    if saved:
        (root / "checkpoints").mkdir()
        (root / "checkpoints" / f"{saved:06d}.ckpt").write_bytes(b"x" * 2000)
    if finished:
        delivery = root / "steps" / f"{finished:06d}"
        delivery.mkdir(parents=True)
        summary = {"train_loss": {"last_500_mean": 0.125}, "validation_loss": {"base": 0.3, "final": 0.25}}
        (delivery / "summary.json").write_text(json.dumps(summary))
    for path in root.rglob("*"):
        os.utime(path, (time.time() - age_seconds,) * 2)
    return root


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs, the middle one finished, and a folder that is none."""
    directory = tmp_path / "runs"
    make_run(directory, "smoke-aaa111222333", age_seconds=7200)
    make_run(directory, "quickstart-aab111222333", finished=400, saved=400, age_seconds=60)
    make_run(directory, "smoke-ccc111222333", saved=20, age_seconds=3600)
    (directory / "notes").mkdir()
    (directory / "notes" / "keep.txt").write_text("mine")
    (directory / "arithmetic.json").write_text("a file among the folders")
    return directory


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "160", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "emote", "runs", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, cwd=ROOT)


def test_a_link_to_a_run_is_not_followed_to_delete_it(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    there = tmp_path / "elsewhere" / "smoke-aaa111222333"
    (runs / there.name).rename(there)
    (runs / "linked").symlink_to(there)
    with pytest.raises(ConfigError, match=r"runs/linked is a link to \S+/elsewhere/smoke-aaa111222333; remove the li"):
        delete_run(runs, there.name)
    assert (there / "arithmetic.json").is_file()


def test_runs_are_listed_newest_first_and_other_folders_are_none(runs: Path) -> None:
    names = [row.name for row in list_runs(runs)]
    assert names == ["quickstart-aab111222333", "smoke-ccc111222333", "smoke-aaa111222333"]


def test_a_row_says_how_far_a_run_got(runs: Path) -> None:
    finished, saved, begun = list_runs(runs)
    assert (finished.finished, finished.saved) == ([400], 400)
    assert (finished.train_loss, finished.held_out_loss) == (0.125, 0.25)
    assert (saved.finished, saved.saved, saved.train_loss, saved.held_out_loss) == ([], 20, None, None)
    assert (begun.finished, begun.saved) == ([], 0)
    assert 2000 < saved.size_bytes < 2100 and 3590 < saved.age_seconds < 3700


def test_a_directory_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "runs") == []


@pytest.mark.parametrize("name", ["smoke-ccc111222333", "ccc", "ccc111222333"])
def test_a_run_is_deleted_by_its_name_or_the_start_of_its_identity(runs: Path, name: str) -> None:
    assert delete_run(runs, name).name == "smoke-ccc111222333"
    assert not (runs / "smoke-ccc111222333").exists()
    assert len(list_runs(runs)) == 2


@pytest.mark.parametrize(
    ("name", "matching"),
    [("aa", 2), ("smoke", 2), ("zzz", 0), ("notes", 0), ("", 0), ("..", 0), ("111222333", 0), ("smoke-ccc", 0)],
)
def test_a_name_that_means_no_run_or_several_deletes_nothing(runs: Path, name: str, matching: int) -> None:
    with pytest.raises(ConfigError) as caught:
        delete_run(runs, name)
    assert f"({matching} match)" in str(caught.value) and "quickstart-aab111222333" in str(caught.value)
    assert len(list_runs(runs)) == 3 and (runs / "notes" / "keep.txt").exists()


def test_a_run_that_is_being_trained_is_not_deleted(runs: Path) -> None:
    with run_lock(runs / "smoke-ccc111222333"), pytest.raises(Busy, match=f"by process {os.getpid()} on"):
        delete_run(runs, "ccc")
    assert (runs / "smoke-ccc111222333").exists()
    delete_run(runs, "ccc")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"train_loss": 3}', "\0", "[" * 100_000])
def test_a_damaged_summary_harms_one_line(runs: Path, content: str) -> None:
    (runs / "quickstart-aab111222333" / "steps" / "000400" / "summary.json").write_text(content)
    damaged, *others = sorted(list_runs(runs), key=lambda row: row.name)
    assert len(others) == 2 and not any(row.damage for row in others)
    assert (damaged.train_loss, damaged.held_out_loss, damaged.finished) == (None, None, [400])
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_runs(list_runs(runs), console)
    shown = console.export_text()
    assert content == '{"train_loss": 3}' or "quickstart-aab111222333: steps/000400/summary.json" in shown


def test_no_name_deletes_nothing_even_where_there_is_one_run(tmp_path: Path) -> None:
    make_run(tmp_path, "smoke-aaa111222333")
    with pytest.raises(ConfigError):
        delete_run(tmp_path, "")
    assert len(list_runs(tmp_path)) == 1


def test_the_table_shows_what_a_row_holds(runs: Path) -> None:
    console = Console(width=160, record=True, quiet=False, file=open(os.devnull, "w"))  # noqa: SIM115
    print_runs(list_runs(runs), console)
    lines = console.export_text().splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["quickstart-aab111222333", "400", "400", "0.1250", "0.2500", "2", "kB", "60", "s"]
    assert lines[2].split()[1:5] == ["–", "20", "–", "–"]


def test_the_script_lists_and_deletes(runs: Path) -> None:
    table = script(f"runs_dir={runs}")
    assert table.returncode == 0 and "quickstart-aab111222333" in table.stdout and "notes" not in table.stdout
    removed = script(f"runs_dir={runs}", "delete=aab")
    assert removed.returncode == 0 and removed.stdout.startswith("removed quickstart-aab111222333 (")
    refused = script(f"runs_dir={runs}", "delete=aab")
    assert (refused.returncode, refused.stdout) == (2, "") and "smoke-ccc111222333" in refused.stderr
    assert len(list_runs(runs)) == 2


def test_a_mistyped_key_is_named_with_the_nearest_one_and_deletes_nothing(runs: Path) -> None:
    done = script(f"runs_dir={runs}", "delte=ccc")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown key delte" in done.stderr and "did you mean delete=?" in done.stderr
    assert len(list_runs(runs)) == 3


def test_without_runs_the_script_says_how_to_make_one(tmp_path: Path) -> None:
    done = script(f"runs_dir={tmp_path}")
    assert done.returncode == 0 and "python train.py" in done.stdout
