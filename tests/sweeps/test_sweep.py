"""A sweep computes nothing twice, survives what goes wrong in it, and says what it found."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emote.cli.check.command_line import check
from emote.cli.composing import CONF, hydra_over_conf
from emote.cli.running import jobs_of
from emote.cli.train import compose_config, main
from emote.config import Config
from emote.runs.find import find_run
from emote.runs.lock import run_lock, wait_for
from emote.sweeps.index import Index
from emote.sweeps.plan import Plan, plan
from emote.training.run import run
from tests.conftest import ROOT
from tests.sweeps.conftest import Finished, Steps
from tests.sweeps.helpers import adapters, sweep_of


def states(runs: Path) -> list[tuple[str, str]]:
    return [(entry.label, entry.state) for entry in Index(sweep_of(runs)).entries()]


def results(runs: Path) -> list[list[str]]:
    """What the report says of each job that is no time and no place."""
    rows = [line.split("|") for line in (sweep_of(runs) / "report.md").read_text().splitlines()]
    return [row[1:6] for row in rows if len(row) == 12]


def test_the_longer_jobs_go_on_from_the_shorter_ones(finished: Finished) -> None:
    assert finished.computed == 2 * 4
    assert states(finished.runs) == [
        ("lora.rank=2 trainer.max_steps=2", "finished"),
        ("lora.rank=4 trainer.max_steps=2", "finished"),
        ("lora.rank=2 trainer.max_steps=4", "finished"),
        ("lora.rank=4 trainer.max_steps=4", "finished"),
    ]
    assert [entry.steps_run for entry in Index(finished.directory).entries()] == [2, 2, 2, 2]


@pytest.mark.parametrize("step", [2, 4])
def test_a_job_is_bit_for_bit_the_run_done_alone(
    finished: Finished, sweep_words: list[str], tmp_path: Path, step: int
) -> None:
    swept = ("-m", "lora.rank=", "trainer.max_steps=")
    words = [word for word in sweep_words if not word.startswith(swept)]
    words += ["lora.rank=4", f"trainer.max_steps={step}", f"run.dir={tmp_path}"]
    run(compose_config(words), words)
    (alone,) = adapters(tmp_path).items()
    assert alone in adapters(finished.runs).items()


def test_the_same_words_again_compute_nothing_and_say_so(
    finished: Finished, sweep_words: list[str], steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    before, files = steps.computed, {p: p.stat().st_mtime_ns for p in finished.runs.glob("*/steps/**/*")}
    assert main([*sweep_words, f"run.dir={finished.runs}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert steps.computed == before and files == {p: p.stat().st_mtime_ns for p in files}
    assert "finished already (run.fresh=true starts again)" in said
    assert any(line.startswith("Lowest held-out loss") for line in said)
    assert said[-1] == str(finished.directory / "report.html") and Path(said[-1]).exists()


def test_a_job_that_fails_stops_no_other_and_the_same_words_finish_the_sweep(
    disturbed: Callable[[str], int],
    finished: Finished,
    steps: Steps,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs, before = tmp_path / "runs", steps.computed
    assert disturbed("raise 2 2") == 1
    told = capsys.readouterr().err
    assert told.count("RuntimeError: as it was asked") == 4  # a line for each job, and all of them at the end
    assert "job 1 of 4 failed: RuntimeError: as it was asked  (lora.rank=2 trainer.max_steps=2)" in told
    assert "2 of 4 jobs failed:" in told and "RuntimeError: as it was asked  (" in told
    assert [state for _, state in states(runs)] == ["failed", "finished", "failed", "finished"]
    log = (sweep_of(runs) / "logs" / "001.log").read_text()
    assert "Traceback" in log and log.endswith("RuntimeError: as it was asked\nand more\n")
    page, markdown = (sweep_of(runs) / "report.html").read_text(), (sweep_of(runs) / "report.md").read_text()
    for text in (page, markdown):
        assert "2 of 4 jobs are finished" in text and "RuntimeError: as it was asked" in text and "logs/001.log" in text

    assert disturbed("") == 0
    assert adapters(runs) == adapters(finished.runs)
    assert steps.computed - before == 2 * 4 + 2  # the second step of rank 2 failed in two jobs, and was not saved
    assert "failed" not in (sweep_of(runs) / "report.md").read_text()


@pytest.mark.slow
def test_a_signal_stops_the_sweep_and_the_same_words_go_on(
    disturbed: Callable[[str], int], finished: Finished, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert disturbed("SIGTERM 2 3") == 143
    assert [state for _, state in states(runs)] == ["finished", "finished", "stopped", "waiting"]
    assert disturbed("") == 0
    assert adapters(runs) == adapters(finished.runs)


@pytest.mark.slow
def test_killed_in_the_middle_and_said_again_it_is_the_same_sweep(
    sweep_words: list[str], finished: Finished, tmp_path: Path
) -> None:
    command = [sys.executable, "train.py", *sweep_words, f"run.dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/checkpoints/000003.ckpt")):  # of the third job
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(state != "finished" for _, state in states(tmp_path))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert adapters(tmp_path) == adapters(finished.runs)
    assert results(tmp_path) == results(finished.runs)


def test_mistakes_of_every_job_are_told_before_the_first_starts(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in sweep_words if not word.startswith("data.path=")]
    good = next(word for word in sweep_words if word.startswith("data.path="))
    assert main([*words, f"{good},{tmp_path}/nowhere", f"run.dir={tmp_path}/runs"]) == 2
    told = capsys.readouterr()
    assert "nowhere" in told.err and "job 1" not in told.out
    assert not (tmp_path / "runs").exists()


def test_a_horizon_that_follows_the_steps_makes_runs_of_their_own(sweep_words: list[str], tmp_path: Path) -> None:
    words = [word for word in sweep_words if not word.startswith(("-m", "lora.rank=", "trainer.max_steps="))]

    def planned(*more: str) -> Plan:
        said = [[*words, f"run.dir={tmp_path}", f"trainer.max_steps={steps}", *more] for steps in (2, 4)]
        return plan([(line, compose_config(line)) for line in said])

    assert (planned().steps(), len(planned().runs), planned().follows_horizon) == ((4, 6), 1, False)
    own = planned("trainer.schedule_steps=${trainer.max_steps}")
    assert (own.steps(), len(own.runs), own.follows_horizon) == ((6, 6), 2, True)


@pytest.mark.slow
def test_a_fresh_sweep_starts_each_run_again_once(
    disturbed: Callable[[str], int], sweep_words: list[str], steps: Steps, tmp_path: Path
) -> None:
    words = [word.replace("lora.rank=2,4", "lora.rank=2") for word in sweep_words] + [f"run.dir={tmp_path}"]
    assert main(words) == 0
    before = steps.computed
    assert main([*words, "run.fresh=true"]) == 0
    assert steps.computed - before == 4
    assert len(list(tmp_path.glob("tiny-*.old*"))) == 1


def test_a_job_is_one_line_and_at_the_end_stands_what_to_type_next(
    sweep_words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("=4,2", "=1") for word in sweep_words]
    assert main([*words, f"run.dir={tmp_path}"]) == 0
    told = capfd.readouterr().out.splitlines()
    warned, *between = told[2 : told.index("")]
    assert warned.startswith("warning: trainer.schedule=cosine ends at")  # of both jobs, and said once
    assert [line.partition(" finished in ")[0] for line in between] == ["job 1 of 2", "job 2 of 2"]
    assert all("lora.rank=" in line and "held-out loss" in line for line in between)
    assert "left" in between[0] and "left" not in between[1]
    generate, evaluate = (line.split() for line in told[-5:-1] if line.startswith("  emote "))
    assert generate[1] == "generate" and find_run(generate[2].removeprefix("run=").partition("/")[0], tmp_path)
    assert evaluate[1] == "evaluate" and evaluate[-1] == f"runs_dir={tmp_path}"
    assert told[-1] == str(sweep_of(tmp_path) / "report.html")
    logs = [path.read_text() for path in tmp_path.glob("tiny-*/run.log")]
    assert len(logs) == 2 and all("trained to step 1" in log for log in logs)


def test_what_differs_names_the_runs_of_one_group(
    finished: Finished, sweep_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emote.sweeps import sweep

    told = []

    def stop(config: Config, words: list[str]) -> Path:
        told.append((config.logger.group, config.logger.run_name))
        raise RuntimeError("that is all")

    monkeypatch.setattr(sweep, "run", stop)
    assert main([*sweep_words, f"run.dir={tmp_path}"]) == 1
    group = finished.directory.name  # the same runs to the same steps, wherever they are kept
    assert told == [(group, "lora.rank=2"), (group, "lora.rank=4")] * 2


SWEEPS = {
    "ranks": (5, ["2", "4", "8", "16", "32"], None),
    "steps": (3, None, ["1500", "3000", "4500"]),
    "ranks_x_steps": (15, ["2", "4", "8", "16", "32"], ["1500", "3000", "4500"]),
    "learning_rate": (4, None, None),
    "demo": (12, ["1", "2", "4", "8"], ["100", "200", "300"]),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_the_sweeps_of_conf_are_what_their_names_say(name: str) -> None:
    count, ranks, steps = SWEEPS[name]
    assert planned_words(f"experiment=sweep/{name}") == (count, ranks, steps)
    if name != "demo":
        small = steps and ["100", "200", "300"]
        assert planned_words(f"experiment=sweep/{name}", "twin=mini") == (count, ranks, small)


def planned_words(*words: str) -> tuple[int, list[str] | None, list[str] | None]:
    """How many jobs, and the values of ranks and step counts, None where they are not swept."""
    with hydra_over_conf() as composer:
        assert check(composer, list(words), sweep=False).sweep
        jobs = jobs_of(composer, list(words))

    def values(key: str) -> list[str] | None:
        said = (word.partition("=")[2] for job in jobs for word in job if word.startswith(f"{key}="))
        return list(dict.fromkeys(said)) or None

    return len(jobs), values("lora.rank"), values("trainer.max_steps")


def test_there_is_a_test_for_every_sweep_of_conf() -> None:
    there = {file.stem for file in (CONF / "experiment" / "sweep").glob("*.yaml")}
    assert {name for name in there if not name.startswith("_")} == set(SWEEPS)


def test_a_job_that_another_process_is_at_is_waited_for(
    sweep_words: list[str],
    finished: Finished,
    tmp_path: Path,
    steps: Steps,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from emote.sweeps import sweep

    words = [word.replace("trainer.max_steps=4,2", "trainer.max_steps=2") for word in sweep_words]
    (held,) = {entry.run for entry in Index(finished.directory).entries() if "lora.rank=4" in entry.differs}
    before = steps.computed
    began, ended = threading.Event(), threading.Event()

    def hold() -> None:  # a lock belongs to a thread
        with run_lock(tmp_path / Path(held).name):
            began.set()
            ended.wait()

    def wait(run: Path) -> None:
        assert steps.computed - before == 2  # what nobody has is done first
        threading.Timer(1.0, ended.set).start()
        wait_for(run)

    monkeypatch.setattr(sweep, "wait_for", wait)
    other = threading.Thread(target=hold, daemon=True)
    other.start()
    began.wait()
    assert main([*words, f"run.dir={tmp_path}"]) == 0
    other.join()
    told = capsys.readouterr()
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert f"is being worked on by {who}; wait for it" in told.err
    assert f"waiting for {Path(held).name}, which {who} is working on" in told.out.splitlines()
    assert steps.computed - before == 4  # the other process ended without a result
    assert [state for _, state in states(tmp_path)] == ["finished", "finished"]


def test_a_job_whose_images_changed_meanwhile_is_told_and_planned_anew(
    sweep_words: list[str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emote.sweeps import sweep

    own = tmp_path / "images"
    shutil.copytree(images, own)
    words = [word.replace(str(images), str(own)).replace("=4,2", "=1") for word in sweep_words]
    words.append(f"run.dir={tmp_path / 'runs'}")
    run = sweep.run

    def run_and_add(config: Config, said: list[str]) -> Path:
        path = run(config, said)
        shutil.copy(own / "00.png", own / "24.png")
        (own / "24.txt").write_text("disc z")
        return path

    monkeypatch.setattr(sweep, "run", run_and_add)
    assert main(words) == 1
    (before,) = (tmp_path / "runs" / "sweeps").iterdir()
    first, second = Index(before).entries()
    assert first.state == "finished" and second.state == "failed"
    assert second.error and second.error.startswith("the images or the base model changed while the sweep ran")
    assert main(words) == 0
    (after,) = set((tmp_path / "runs" / "sweeps").iterdir()) - {before}
    assert [entry.state for entry in Index(after).entries()] == ["finished", "finished"]
