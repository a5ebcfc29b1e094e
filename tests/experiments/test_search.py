"""A search proposes what its words leave open, stops what is hopeless, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from emote.config import ConfigError
from emote.experiments.search import SearchOptions, search
from emote.experiments.search_space import Choice, Interval, read_space

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
