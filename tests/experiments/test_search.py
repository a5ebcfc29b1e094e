"""A search proposes what its words leave open, stops what is hopeless, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emote.experiments.search import SearchOptions, search
from emote.experiments.search_space import Choice, Interval, read_space
from emote.training.run import Interrupted
from emote.util.errors import ConfigError
from tests.conftest import ROOT

RATES = "trainer.learning_rate=tag(log, interval(1e-5, 1e-2))"


@pytest.fixture
def words(tiny_words: list[str], tmp_path: Path) -> list[str]:
    return [
        "experiment=best", "name=search", *tiny_words, "trainer.max_steps=4", "callbacks.samples.prompts=[]",
        "lora.rank=2,4", RATES, f"run.dir={tmp_path}",
    ]  # fmt: skip


def test_the_words_with_several_values_are_the_space() -> None:
    fixed, space = read_space(["model=mini", "lora.rank=range(2,9,2)", RATES, "trainer.batch_size=interval(2, 8)"])
    assert fixed == ["model=mini"]
    assert space == [
        Choice("lora.rank", ("2", "4", "6", "8")),
        Interval("trainer.learning_rate", 1e-5, 1e-2, log=True, whole=False),
        Interval("trainer.batch_size", 2.0, 8.0, log=False, whole=True),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=mini"], "needs a word with a choice, got none"),
        (["lora.rank=0,4"], "lora.rank must be at least 1, got 0"),
        (["lora.dropout=interval(0, 1)"], "lora.dropout must be below 1, got 1.0"),
        (["trainer.learning_rate=tag(log, interval(0, 1e-3))"], "must begin above 0"),
        (["lora.rnak=2,4"], "did you mean lora.rank?"),
    ],
)
def test_mistakes_in_any_value_are_told_before_anything_is_loaded(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        search(SearchOptions(), words)
    assert told in str(error.value)


def test_a_search_goes_on_with_what_a_dead_worker_left(words: list[str], tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="the search needs optuna")
    report = search(SearchOptions(trials=1, looks=2), words)
    (journal,) = tmp_path.glob("searches/search-*/journal.log")
    assert report.parent == journal.parent
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name=journal.parent.name, storage=storage)
    trial = study.ask()  # and its process dies
    trial.suggest_categorical("lora.rank", ["2", "4"])
    rate = trial.suggest_float("trainer.learning_rate", 1e-5, 1e-2, log=True)
    assert search(SearchOptions(trials=3, looks=2, never_stopped=1), words) == report
    states = [trial.state.name for trial in study.get_trials()]
    assert states[:2] == ["COMPLETE", "FAIL"] and len(states) == 4 and set(states[2:]) <= {"COMPLETE", "PRUNED"}
    again = study.get_trials()[2]
    assert again.params == {"lora.rank": trial.params["lora.rank"], "trainer.learning_rate": rate}
    steps = {max(done.intermediate_values) for done in study.get_trials() if done.state.name != "FAIL"}
    assert steps <= {2, 4} and 4 in steps
    text = (report.parent / "report.md").read_text()
    assert "## Trials" in text and text.count("| finished") + text.count("| stopped early") == 3

    assert search(SearchOptions(trials=3, looks=2, never_stopped=1), words) == report
    assert len(study.get_trials()) == 4


def study_in(runs: Path) -> Any:
    import optuna

    (journal,) = runs.glob("searches/search-*/journal.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=journal.parent.name, storage=storage)


def states(runs: Path) -> list[str]:
    return [trial.state.name for trial in study_in(runs).get_trials()]


def test_a_signal_stops_a_search_and_the_same_words_go_on_with_its_trial(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the search needs optuna")
    file = tmp_path / "disturb"
    file.write_text("SIGTERM 4 3")
    words = [word for word in words if word != "lora.rank=2,4"] + [
        "lora.rank=4", "callbacks.checkpoint.every_steps=1",
        "+callbacks.extra.disturb._target_=tests.sweeps.helpers.Disturb",
        "+callbacks.extra.disturb.only_watches=true", f"+callbacks.extra.disturb.file={file}",
    ]  # fmt: skip
    with pytest.raises(Interrupted):
        search(SearchOptions(trials=2, looks=1), words)
    assert states(tmp_path) == ["RUNNING"]
    file.unlink()
    search(SearchOptions(trials=2, looks=1), words)
    assert states(tmp_path) == ["FAIL", "COMPLETE", "COMPLETE"]
    first, again, _ = study_in(tmp_path).get_trials()
    assert again.params == first.params
    summary = json.loads((Path(again.user_attrs["run"]) / "steps" / "000004" / "summary.json").read_text())
    assert summary["steps_run"] == 1  # the other three were saved
    (report,) = tmp_path.glob("searches/*/report.md")
    assert "](report/search-history.svg)" in report.read_text() and "| failed" not in report.read_text()


class Worker:
    """A process of `emote search`, and what it said so far."""

    def __init__(self, words: list[str], trials: int, log: Path) -> None:
        self.log = log
        options = [f"trials={trials}", "looks=1", "never_stopped=99"]
        with open(log, "w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "emote", "search", *words, *options], cwd=ROOT, stdout=out, stderr=out,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def tried(self) -> list[int]:
        return [int(number) for number in re.findall(r"^trial (\d+):", self.log.read_text(), re.MULTILINE)]

    def end(self) -> int:
        return self.process.wait(timeout=240)


@pytest.mark.slow
def test_two_workers_share_the_trials_and_what_a_killed_one_left_is_done(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the search needs optuna")
    words = [*words, "trainer.max_steps=2"]
    both = [Worker(words, 3, tmp_path / f"worker{number}.log") for number in range(2)]
    assert [worker.end() for worker in both] == [0, 0], both[0].log.read_text() + both[1].log.read_text()
    assert sorted(both[0].tried() + both[1].tried()) == [1, 2, 3]
    assert states(tmp_path) == ["COMPLETE"] * 3
    assert len({trial.params["trainer.learning_rate"] for trial in study_in(tmp_path).get_trials()}) == 3

    killed, deadline = Worker(words, 4, tmp_path / "killed.log"), time.monotonic() + 240
    while not killed.tried():
        assert time.monotonic() < deadline and killed.process.poll() is None
        time.sleep(0.01)
    killed.process.send_signal(signal.SIGKILL)
    killed.end()
    assert states(tmp_path) == ["COMPLETE"] * 3 + ["RUNNING"]
    search(SearchOptions(trials=4, looks=1, never_stopped=99), words)
    assert states(tmp_path) == ["COMPLETE"] * 3 + ["FAIL", "COMPLETE"]
    *_, lost, again = study_in(tmp_path).get_trials()
    assert again.params == lost.params
