from __future__ import annotations

import os
from pathlib import Path

import pytest

from emote.runs.find import LATEST, find_run, finished_runs, known_runs, list_run_folders, nearest_run
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError


def make_run(runs_dir: Path, name: str, *steps: int, finished_at: float = 1e9) -> RunFolder:
    """A run with these finished step counts and a checkpoint at each of them."""
    folder = RunFolder(runs_dir / name)
    (folder.root / "checkpoints").mkdir(parents=True)
    for step in steps:
        folder.checkpoint(step).write_bytes(b"")
        folder.deliverables(step).mkdir(parents=True)
        summary = folder.deliverables(step) / "summary.json"
        summary.write_text(f'{{"step": {step}}}')
        os.utime(summary, (finished_at, finished_at))
    return folder


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    make_run(tmp_path, "smoke-aaa111222333", 10, 20, finished_at=1e9)
    make_run(tmp_path, "my-style-bbb111222333", 5, finished_at=2e9)
    make_run(tmp_path, "smoke-ccc111222333")  # began, finished nothing
    (tmp_path / "sweeps" / "smoke-ddd111222333").mkdir(parents=True)
    return tmp_path


def test_a_name_has_a_title_and_an_identity() -> None:
    folder = RunFolder(Path("runs") / "my-style-bbb111222333")
    assert (folder.name, folder.title, folder.identity) == ("my-style-bbb111222333", "my-style", "bbb111222333")


def test_copies_that_somebody_made_are_no_steps(runs_dir: Path) -> None:
    folder = RunFolder(runs_dir / "smoke-aaa111222333")
    for name in ("000020 (copy)", "20", "000030.bak", "²"):
        (folder.root / "steps" / name).mkdir()
        (folder.root / "steps" / name / "summary.json").write_text("{}")
        (folder.root / "checkpoints" / f"{name}.ckpt").write_bytes(b"")
    assert folder.delivered_steps() == folder.checkpoint_steps() == [10, 20]
    assert finished_runs(runs_dir)[1].name == folder.name  # asks when each step was finished


def test_the_runs_of_a_directory_are_those_that_began_there(runs_dir: Path) -> None:
    names = [folder.name for folder in list_run_folders(runs_dir)]
    assert names == ["my-style-bbb111222333", "smoke-aaa111222333", "smoke-ccc111222333"]
    assert [folder.title for folder in finished_runs(runs_dir)] == ["my-style", "smoke"]  # the last finished first
    assert list_run_folders(runs_dir / "nowhere") == []


@pytest.mark.parametrize("run", ["smoke-aaa111222333", "aaa", "smoke"])
def test_a_run_is_found_by_all_its_names(runs_dir: Path, run: str) -> None:
    folder = find_run(run, runs_dir)
    assert folder and folder.name == "smoke-aaa111222333" and folder.latest_checkpoint() == 20
    assert folder.latest_checkpoint(at_most=19) == 10 and folder.summary(20) == {"step": 20}


def test_the_latest_is_the_one_that_finished_last(runs_dir: Path) -> None:
    assert getattr(find_run(LATEST, runs_dir), "title", None) == "my-style"
    with pytest.raises(ConfigError, match="finds no finished run in"):
        find_run(LATEST, runs_dir / "nowhere")


def test_a_run_is_found_by_its_directory_wherever_that_lies(runs_dir: Path) -> None:
    folder = find_run(str(runs_dir / "smoke-ccc111222333"), Path("nowhere"))
    assert folder and folder.identity == "ccc111222333" and folder.delivered_steps() == []


def test_a_run_that_finished_nothing_is_found_where_no_finished_one_is_meant(runs_dir: Path) -> None:
    folder = find_run("ccc", runs_dir)
    assert folder and folder.last_deliverables() is None


def test_several_runs_of_one_name_are_told_apart_by_their_identities(runs_dir: Path) -> None:
    make_run(runs_dir, "smoke-eee111222333", 7)
    with pytest.raises(ConfigError, match=r"2 runs in .*; use one of smoke-aaa111222333, smoke-eee111222333"):
        find_run("smoke", runs_dir)


def test_a_run_that_was_begun_again_is_meant_by_its_whole_name_alone(runs_dir: Path) -> None:
    make_run(runs_dir, "smoke-aaa111222333.old1", 20)
    for run in ("smoke", "aaa", "aaa111222333"):
        assert getattr(find_run(run, runs_dir), "name", None) == "smoke-aaa111222333"
    assert getattr(find_run("smoke-aaa111222333.old1", runs_dir), "is_aside", None) is True


def test_names_of_nothing_find_nothing_and_the_nearest_is_known(runs_dir: Path) -> None:
    for run in ("", "smokee", "sweeps", "111222333"):
        assert find_run(run, runs_dir) is None
    assert nearest_run("smokee", finished_runs(runs_dir)) == "smoke"
    assert known_runs(runs_dir) == "finished runs: my-style-bbb111222333, smoke-aaa111222333"
