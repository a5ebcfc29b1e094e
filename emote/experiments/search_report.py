"""The trials of a search, for its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emote.experiments.search_plots import plots
from emote.sweeps.reports.document import Section, Table

ENDED = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed"}


def trials_section(study: Any, left: Sequence[int]) -> Section:
    """study: of Optuna. left: numbers of the trials that were queued again, as their process was gone."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.name in ENDED and t.number not in left]
    keys = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            str(trial.number + 1),
            *(_shown(trial.params.get(name)) for name in keys),
            f"{max(trial.intermediate_values, default=0):,}",
            f"{trial.value:.5f}" if trial.value is not None else "–",
            ENDED[trial.state.name],
        ]
        for trial in trials
    ]
    head = ["trial", *(f"`{name}`" for name in keys), "steps", "held-out loss", "state"]
    return Section("Trials", [Table(head, rows), *plots(study)])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
