"""What a report says of jobs that trained together."""

from __future__ import annotations

from emote.sweeping.document import Block, Table, Text
from emote.sweeping.grid import ELSEWHERE, Grid
from emote.sweeping.results import Result
from emote.training.listing import readable_bytes

ABOUT = (
    "The runs of a line trained in one pass over one copy of the base model (`sweep.pack=true`): time and memory, also "
    "in the table of all jobs, are those of the whole line."
)
GAINED = "Beside it what the same runs took alone, one after the other, and the most memory that one of them took."
UNKNOWN = (
    "What that gained is not known here, where none of them trained alone: the same sweep with `sweep.pack=false`, and "
    "`python scripts/report.py` with the directories of both, tell."
)


def trained_together(grid: Grid) -> list[Block]:
    """Nothing where all trained alone."""
    labels = {row.run.name: row.label for row in grid.rows}
    found: dict[tuple[tuple[str, ...], int], Result] = {}
    for result in grid.finished:
        if names := result.summary.get("together"):  # not in summaries of earlier releases
            found.setdefault((tuple(names), result.step), result)
    if not found:
        return []
    rows, gained = [], False
    for (names, step), result in found.items():
        row = ["; ".join(labels.get(name, name) for name in names), f"{step:,}", *_cost(_step_s(result), [result])]
        alone = _alone(grid, names, step)
        if len(alone) == len(names):
            apart_s = sum(map(_step_s, alone))
            row += [*_cost(apart_s, alone), f"{apart_s / _step_s(result):.2f} times as fast"]
            gained = True
        rows.append(row)
    head = ["runs", "to step", "a step of all", "memory"] + ["alone", "memory", "together"] * gained
    whole = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return [Text(f"{ABOUT} {GAINED if gained else UNKNOWN}"), Table(head, whole)]


def _alone(grid: Grid, names: tuple[str, ...], step: int) -> list[Result]:
    """The runs that are as those of these names, but trained alone, to this step."""
    at_step = [result for result in grid.finished if result.step == step]
    packed = [_recipe(result) for result in at_step if result.run.name in names]
    return [result for result in at_step if not result.summary.get("together") and _recipe(result) in packed]


def _recipe(result: Result) -> dict[str, str]:
    return {k: repr(v) for k, v in result.values.items() if not k.startswith((*ELSEWHERE, "sweep."))}


def _step_s(result: Result) -> float:
    return result.summary["seconds_per_step"]


def _cost(step_s: float, results: list[Result]) -> list[str]:
    """Of a step, and of the run that took the most memory."""
    peaks = [result.summary["peak_memory_bytes"] for result in results]
    return [f"{step_s:.3g} s", readable_bytes(max(peak["device"] or peak["host"] for peak in peaks))]
