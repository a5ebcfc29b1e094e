"""The trials of a search, for its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emote.sweeping.document import Block, Drawing, Section, Table, Text
from emote.sweeping.drawing import Bar, Line, draw_curves


def trials_section(trials: Sequence[Any], left: Sequence[int], mattered: dict[str, float]) -> Section:
    """trials: of Optuna. left: numbers of those that were queued again. mattered: share of each key."""
    trials = [trial for trial in trials if trial.number not in left]
    keys = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            str(trial.number + 1),
            *(_shown(trial.params.get(name)) for name in keys),
            f"{max(trial.intermediate_values, default=0):,}",
            f"{trial.value:.5f}" if trial.value is not None else "–",
            {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed"}[trial.state.name],
        ]
        for trial in trials
    ]
    head = ["trial", *(f"`{name}`" for name in keys), "steps", "held-out loss", "state"]
    blocks: list[Block] = [Table(head, rows)]
    finished = [(trial.number + 1, trial.value) for trial in trials if trial.state.name == "COMPLETE"]
    if len(finished) > 1:
        blocks.append(_history(finished))
    if mattered:
        blocks.append(Text("Share of each key in what parted the good trials from the others (PED-ANOVA, Optuna):"))
        blocks.append(Table(["key", "share"], [[f"`{name}`", f"{share:.0%}"] for name, share in mattered.items()]))
    return Section("Trials", blocks)


def _history(finished: Sequence[tuple[int, float]]) -> Drawing:
    """How much lower than the first one the trials are, and the lowest so far."""
    first = finished[0][1]
    lowest = [(number, min(value for _, value in finished[: i + 1])) for i, (number, _) in enumerate(finished)]
    bars = [Bar(number, value - first, None) for number, value in finished]
    line = Line("lowest so far", [(number, value - first) for number, value in lowest], bars)
    svg = draw_curves([line], "trial", "held-out loss − first trial's")
    return Drawing("trials.svg", svg, "held-out loss of the trials that ran to the end")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
