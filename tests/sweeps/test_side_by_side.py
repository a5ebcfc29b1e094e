"""A sweep whose jobs run in other processes is the same sweep: joblib, Ray, and two commands at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from emote.cli.train import compose_config, main
from emote.config import Config, problems
from emote.sweeps import watch
from emote.sweeps.index import FAILED, FINISHED, Index, output_of
from emote.sweeps.job import work, write_job
from emote.sweeps.launchers import check_launcher, slurm
from emote.sweeps.plan import plan
from emote.sweeps.watch import watching
from emote.util import registry
from emote.util.errors import ConfigError
from tests.conftest import ROOT
from tests.sweeps.conftest import Finished
from tests.sweeps.helpers import adapters, sweep_of


@pytest.fixture(autouse=True)
def one_thread_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend on the number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


ENGINES = [pytest.param("joblib", marks=needs("joblib")), pytest.param("ray", marks=[needs("ray"), pytest.mark.slow])]


@pytest.mark.parametrize("name", ENGINES)
def test_jobs_of_other_processes_are_the_same_bit_for_bit_and_the_terminal_has_a_line_for_each(
    name: str, finished: Finished, sweep_words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gpus = ["launcher.gpus=0"] * (name == "ray")
    words = [word.replace("=4,2", "=2") for word in sweep_words]
    assert main([*words, f"launcher={name}", *gpus, f"run.dir={tmp_path}"]) == 0
    said = capfd.readouterr().out.splitlines()
    there = adapters(finished.runs)
    assert adapters(tmp_path) == {path: there[path] for path in there if path.endswith("000002")}
    for number, rank in ((1, 2), (2, 4)):
        assert len([line for line in said if line.startswith(f"job {number} of 2 ")]) == 1
        entry = Index(sweep_of(tmp_path)).entries()[number - 1]
        printed = (sweep_of(tmp_path) / output_of(entry.name)).read_text()
        assert f"job {number} of 2: lora.rank={rank}" in printed and "trained to step 2" in printed
    assert not [line for line in said if "trained to step" in line]
    assert said[-1] == str(sweep_of(tmp_path) / "report.html")


@needs("joblib")
@pytest.mark.slow
def test_a_job_that_is_killed_beside_another_is_told_and_the_same_words_finish_the_sweep(
    disturbed_beside: Callable[[str], int], finished: Finished, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert disturbed_beside("SIGKILL 2 1") == 1
    assert "lora.rank=2  ended without a word; was its process killed?  (" in capfd.readouterr().err
    assert disturbed_beside("") == 0
    there = adapters(finished.runs)
    assert adapters(tmp_path / "runs") == {path: there[path] for path in there if path.endswith("000002")}


@pytest.fixture
def disturbed_beside(disturbed: Callable[..., int], sweep_words: list[str]) -> Callable[[str], int]:
    """As `disturbed`, with joblib."""
    words = [*(word.replace("=4,2", "=2") for word in sweep_words), "launcher=joblib"]
    return lambda what: disturbed(what, words)


def written(words: list[str], runs: Path) -> tuple[Path, list[str]]:
    """A sweep whose jobs are written down: its directory, and the names of the jobs."""
    said = [word.replace("=4,2", "=1") for word in words if word not in ("-m",)]
    asked = [[*(w.replace("=2,4", f"={rank}") for w in said), f"run.dir={runs}"] for rank in (2, 4)]
    planned = plan([(line, compose_config(line)) for line in asked])
    Index(planned.directory).write(planned, "")
    for job in planned.jobs:
        write_job(job, planned.directory)
    return planned.directory, [job.name for job in planned.jobs]


def test_what_a_job_prints_and_how_it_ends_are_kept_and_the_next_one_prints_as_before(
    sweep_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from emote.sweeps import sweep

    directory, (first, second) = written(sweep_words, tmp_path)

    def run(config: Config, words: list[str]) -> Path:
        os.write(2, b"from a library in C\n")
        raise (ConfigError("a mistake") if config.lora.rank == 2 else RuntimeError("a fault"))

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr(watch, "LOOK_AGAIN_S", 60.0)  # a job prints elsewhere only in a process of its own
    with watching(Index(directory)):
        assert (work(directory, first), work(directory, second)) == (2, 1)
    mistake, fault = ((directory / output_of(name)).read_text() for name in (first, second))
    assert "from a library in C\nerror: a mistake\n" in mistake
    assert "Traceback" in fault and fault.endswith("RuntimeError: a fault\n")
    assert [(entry.state, entry.error) for entry in Index(directory).entries()] == [
        (FAILED, "a mistake"),
        (FAILED, "RuntimeError: a fault"),
    ]
    told = capfd.readouterr()
    assert sorted(told.out.splitlines()) == [
        "job 1 of 2 failed: a mistake  (lora.rank=2)",
        "job 2 of 2 failed: RuntimeError: a fault  (lora.rank=4)",
    ]
    assert told.err == ""


def test_a_job_is_done_as_it_was_written_down(
    sweep_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emote.sweeps import sweep

    told: list[Config] = []

    def run(config: Config, words: list[str]) -> Path:
        told.append(config)
        raise RuntimeError("that is all")

    monkeypatch.setattr(sweep, "run", run)
    words = [*sweep_words, "+callbacks.extra.mine._target_=pytorch_lightning.Callback", "lora.targets=[to_q]"]
    directory, names = written(words, tmp_path)
    work(directory, names[1])
    asked = compose_config([w.replace("=2,4", "=4").replace("=4,2", "=1") for w in words[1:]] + [f"run.dir={tmp_path}"])
    logger = replace(asked.logger, group=directory.name, run_name="lora.rank=4")
    assert told == [replace(asked, logger=logger)]


@pytest.mark.slow
def test_two_commands_at_once_share_the_work_and_both_end_well(
    sweep_words: list[str], finished: Finished, tmp_path: Path
) -> None:
    command = [sys.executable, "train.py", *(w.replace("=4,2", "=2") for w in sweep_words), f"run.dir={tmp_path}"]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    told = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    there = adapters(finished.runs)
    assert adapters(tmp_path) == {path: there[path] for path in there if path.endswith("000002")}
    steps = [path.read_text().count("\n") - 1 for path in tmp_path.glob("tiny-*/metrics.csv")]
    assert [entry.state for entry in Index(sweep_of(tmp_path)).entries()] == [FINISHED] * 2
    trained = [line for out, _ in told for line in out.splitlines() if line.startswith("trained to step 2")]
    assert len(trained) == len(steps) == 2, told


def config_with(engine: str, **values: object) -> Config:
    config = compose_config(["experiment=smoke", f"launcher={engine}"])
    return replace(config, launcher=replace(config.launcher, **values))  # type: ignore[arg-type]


def test_slurms_script_says_what_the_configuration_says(tmp_path: Path) -> None:
    config = config_with(
        "slurm", at_once=3, cpus=4, gpus=1, memory_gb=16, hours=1.51, partition="gpu", account="me",
        sbatch=["--qos=high"], setup=["module load cuda"],
    )  # fmt: skip
    config = replace(config, trainer=replace(config.trainer, nodes=2, devices=1))
    script = slurm._batch_script(config, tmp_path, ["a-10", "b-10"]).splitlines()
    options = {line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH")}
    assert options == {
        "--array=0-1%3", f"--job-name={tmp_path.name}", f"--output={tmp_path}/logs/slurm-%A_%a.out",
        "--open-mode=append", "--signal=TERM@120", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4",
        "--gpus-per-node=1", "--mem=16G", "--time=91", "--partition=gpu", "--account=me", "--qos=high",
    }  # fmt: skip
    assert script[0] == "#!/bin/bash"
    assert script[-4:-1] == ["export OMP_NUM_THREADS=4", "module load cuda", "jobs=(a-10 b-10)"]


def test_slurm_decides_what_is_not_said(tmp_path: Path) -> None:
    script = slurm._batch_script(config_with("slurm", gpus=0), tmp_path, ["a-10"])
    for word in ("gpus", "cpus", "mem", "time", "partition", "account", "OMP", "%1"):
        assert f"--{word}" not in script and "OMP_NUM_THREADS" not in script


@pytest.mark.parametrize("engine", ["joblib", "slurm", "ray"])
def test_an_engine_that_is_not_there_is_told_before_anything_starts(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_with(engine)
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    advice = "sbatch, which is not found" if engine == "slurm" else f"pip install {engine}"
    with pytest.raises(ConfigError, match=f"launcher={engine} needs .*{advice}"):
        check_launcher(config)


def test_keys_that_an_engine_does_not_read_are_told() -> None:
    assert problems(config_with("joblib", partition="gpu")) == [
        "launcher.partition has no effect on launcher=joblib, got gpu; launcher=slurm reads it"
    ]
    assert problems(config_with("local", at_once=2)) == [
        "launcher.at_once has no effect on launcher=local, got 2; launcher=joblib, launcher=ray, launcher=slurm read it"
    ]


def test_a_single_run_is_not_launched(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["experiment=smoke", "launcher=joblib", f"run.dir={tmp_path}"]) == 2
    assert "launcher=joblib launches the jobs of a sweep: add -m" in capsys.readouterr().err


def test_a_state_that_was_known_is_not_told_again(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = written(sweep_words, tmp_path)
    index = Index(directory)
    first, second = index.entries()
    index.fail(first, ConfigError("before"))
    with watching(index):
        index.begin(second.words)
        index.fail(second, ConfigError("now"))
    assert index.entries()[0].state == FAILED
    assert capsys.readouterr().out == "job 2 of 2 failed: now  (lora.rank=4)\n"


def test_a_launcher_that_is_misspelt_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "launcher=slrum", "launcher.partitoin=gpu", "lora.rank=2,4"]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  launcher must be one of joblib, local, ray, slurm, got slrum; did you mean slurm?",
        "  unknown key launcher.partitoin; did you mean launcher.partition?",
    ]
