"""Optuna's plots of a search: drawn where there is enough to draw, else it is said what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from emote.experiments.search_plots import plots
from emote.sweeps.reports.document import Block, Drawing, Text

optuna = pytest.importorskip("optuna", reason="the search needs optuna")


def study_of(losses: Sequence[float], looks: Sequence[int] = (2, 4), keys: int = 2) -> Any:
    """Trials with these losses at the end; those above 1 are stopped at the first look."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for loss in losses:
        trial = study.ask()
        trial.suggest_categorical("lora.rank", ["2", "4"])
        if keys > 1:
            trial.suggest_float("trainer.learning_rate", 1e-5, 1e-2, log=True)
        for look in looks if loss <= 1 else looks[:1]:
            trial.report(loss, look)
        if loss <= 1:
            study.tell(trial, loss)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return study


def drawn(blocks: Sequence[Block]) -> list[str]:
    return [block.file for block in blocks if isinstance(block, Drawing)]


def reasons(blocks: Sequence[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Text)]


def words_of(svg: str) -> list[str]:
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text") and node.text]


def test_history_importances_slices_and_the_way_are_drawn_with_titles() -> None:
    blocks = list(plots(study_of([0.5, 0.3, 2.0, 0.4, 0.2])))
    assert reasons(blocks) == []
    assert drawn(blocks) == [
        "search-history.svg", "search-importances.svg", "search-slices-0.svg", "search-on-the-way.svg"
    ]  # fmt: skip
    history, mattered, slices, way = (words_of(block.svg) for block in blocks if isinstance(block, Drawing))
    assert {"How the search went", "held-out loss", "lowest so far", "1", "5"} <= set(history) and "0" not in history
    assert {"Which keys parted the good trials from the others", "lora.rank", "trainer.learning_rate"} <= set(mattered)
    assert {"Held-out loss by what was tried", "lora.rank", "2", "4", "trainer.learning_rate"} <= set(slices)
    assert {"On the way, and where trials were stopped", "trial 1", "trial 3", "trial 5"} <= set(way)


def test_a_drawing_stands_within_a_page_and_rests_on_nothing_outside_it() -> None:
    first, again = ([b.svg for b in plots(study_of([0.5, 0.3, 0.4, 0.2])) if isinstance(b, Drawing)] for _ in range(2))
    assert first == again and len(first) == 4
    for svg in first:
        assert svg.startswith("<svg") and "prefers-color-scheme:dark" in svg
        assert all(target.startswith(("#", "data:image/png;")) for target in re.findall(r'href="([^"]*)"', svg))


@pytest.mark.parametrize(
    ("losses", "reason"),
    [([], "there are none"), ([2.0], "there are none"), ([0.5], "there is 1"), ([0.5, 2.0], "there is 1")],
)
def test_of_one_trial_nothing_is_drawn_and_it_is_said_why(losses: list[float], reason: str) -> None:
    blocks = list(plots(study_of(losses)))
    assert (drawn(blocks), reasons(blocks)) == ([], [f"Plots need two finished trials, {reason}."])


def test_what_is_no_question_is_not_drawn() -> None:
    few, one_key = list(plots(study_of([0.5, 0.3], looks=[4]))), list(plots(study_of([0.5, 0.3, 0.4, 0.2], keys=1)))
    assert drawn(few) == ["search-history.svg", "search-slices-0.svg"]
    assert reasons(few) == [
        "What mattered can be told from 4 finished trials on, there are 2.",
        "Each trial was looked at once, at its end, so there is nothing to show on the way.",
    ]
    assert drawn(one_key) == ["search-history.svg", "search-slices-0.svg", "search-on-the-way.svg"]
    assert reasons(one_key) == ["Which key mattered most is no question where one key is searched."]


def test_figures_of_others_look_as_before() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    list(plots(study_of([0.5, 0.3])))
    assert {name: value for name, value in matplotlib.rcParams.items() if before[name] != value} == {}
