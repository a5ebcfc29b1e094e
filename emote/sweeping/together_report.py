"""What a report says of jobs that trained together."""

from __future__ import annotations

from emote.sweeping.document import Block, Table, Text
from emote.sweeping.grid import Grid
from emote.sweeping.results import Result
from emote.training.listing import readable_bytes

ABOUT = (
    "The runs of a line trained in one pass over one copy of the base model (`sweep.pack=true`): time and memory, also "
    "in the table of all jobs, are those of the whole line. What that gained is not known from this sweep, which "
    "trained none of them alone; `python scripts/benchmark.py` measures both ways on one machine."
)


def trained_together(grid: Grid) -> list[Block]:
    """Nothing where all trained alone."""
    labels = {row.run.name: row.label for row in grid.rows}
    found: dict[tuple[tuple[str, ...], int], Result] = {}
    for result in grid.finished:
        if names := result.summary.get("together"):  # not in summaries of earlier releases
            found.setdefault((tuple(names), result.step), result)
    rows = [
        [
            "; ".join(labels.get(name, name) for name in names),
            f"{step:,}",
            f"{result.summary['seconds_per_step']:.3g} s",
            f"{result.summary['seconds_per_step'] / len(names):.3g} s",
            readable_bytes(_peak_bytes(result)),
        ]
        for (names, step), result in found.items()
    ]
    if not rows:
        return []
    return [Text(ABOUT), Table(["runs", "to step", "a step of all", "share of each", "memory of all"], rows)]


def _peak_bytes(result: Result) -> int:
    peak = result.summary["peak_memory_bytes"]
    return peak["device"] or peak["host"]
