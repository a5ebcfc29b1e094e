"""A sweep of four jobs on a real Slurm: that of the machine, or one that `scripts/slurm_on_this_machine.sh` started."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emote.cli.train import main
from emote.sweeps.index import Index, output_of
from tests.conftest import ROOT
from tests.sweeps.conftest import Finished
from tests.sweeps.helpers import adapters, sweep_of


def why_not() -> str:
    if shutil.which("sinfo") is None:
        return "Slurm is not installed (apt-get install slurm-wlm munge)"
    asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=30)
    return f"Slurm does not answer: {asked.stderr.strip().splitlines()[-1:]}" if asked.returncode else ""


@pytest.fixture(scope="session")  # as what takes long, so that it is asked first
def slurm() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.mark.slurm
def test_four_jobs_of_slurm_are_the_jobs_done_here_bit_for_bit(
    slurm: None,
    finished: Finished,
    sweep_words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    words = [word.replace("=4,2", "=2").replace("lora.rank=2,4", "lora.rank=2,3,4,5") for word in sweep_words]
    assert main([*words, "launcher=slurm", "launcher.cpus=1", "launcher.gpus=0", f"run.dir={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert [entry.state for entry in Index(sweep_of(tmp_path)).entries()] == ["finished"] * 4
    there = adapters(finished.runs)
    assert {path: there[path] for path in there if path.endswith("000002")}.items() <= adapters(tmp_path).items()
    (number,) = re.findall(r"^Slurm's job (\d+): 4 of the sweep", said, re.MULTILINE)
    shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    assert shown.count(f"ArrayJobId={number} ") == 4
    assert len(re.findall("JobState=(COMPLETED|COMPLETING)", shown)) == 4
    assert len(re.findall(r"job \d of 4 finished", said)) == 4


@pytest.mark.slurm
def test_what_slurm_refuses_is_told_with_its_words(
    slurm: None, sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["launcher=slurm", "launcher.gpus=0", "launcher.partition=nowhere", f"run.dir={tmp_path}"]
    assert main([*sweep_words, *more]) == 2
    told = capsys.readouterr().err
    assert "sbatch refused" in told and "invalid partition specified: nowhere" in told


@pytest.mark.slurm
def test_a_job_of_slurm_may_be_two_processes(slurm: None, sweep_words: list[str], tmp_path: Path) -> None:
    words = [word.replace("=4,2", "=2").replace("lora.rank=2,4", "lora.rank=2") for word in sweep_words]
    more = ["launcher=slurm", "launcher.cpus=1", "launcher.gpus=0", "trainer.devices=2", f"run.dir={tmp_path}"]
    assert main([*words, *more]) == 0
    (entry,) = Index(sweep_of(tmp_path)).entries()
    told = json.loads(next(tmp_path.glob("*/steps/000002/summary.json")).read_text())
    assert (entry.state, told["steps_run"], told["processes"]) == ("finished", 2, 2)
    output = (sweep_of(tmp_path) / output_of(entry.name)).read_text()
    assert output.count("trained to step 2") == 1  # one of them speaks
