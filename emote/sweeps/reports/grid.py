"""Results as a table: a row for each run, called by what sets it apart, a column for each step count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.evaluation.choosing import Candidate, Choice, choose
from emote.evaluation.paired import PairedResult, compare
from emote.sweeps.reports.results import HeldOutLosses, Result

ELSEWHERE = ("run.", "logger.", "launcher.", "callbacks.", "hub.", "resume_from", "trainer.max_steps")  # is no recipe
STEPS = "trainer.max_steps"


@dataclass(frozen=True)
class Row:
    """A run. label: in words.  values: of the keys in which the runs differ."""

    run: Path
    label: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """rows, steps: in order.  keys: in which the rows differ; `distinct` without those that say the same as another."""

    rows: list[Row]
    steps: list[int]
    keys: list[str]
    distinct: list[str]
    cells: dict[tuple[Path, int], Result]

    def cell(self, row: Row, step: int) -> Result | None:
        return self.cells.get((row.run, step))

    def results(self) -> Iterator[tuple[Row, Result]]:
        for row in self.rows:
            for step in self.steps:
                if result := self.cell(row, step):
                    yield row, result

    @property
    def finished(self) -> list[Result]:
        return [result for _, result in self.results() if result.finished]

    @property
    def comparable(self) -> list[Result]:
        """Those that were scored on the same held-out images as most."""
        by_images: dict[tuple[str, ...], list[Result]] = {}
        for result in self.finished:
            if result.held_out:
                by_images.setdefault(result.held_out.names, []).append(result)
        return max(by_images.values(), key=len, default=[])

    def label(self, result: Result) -> str:
        row = next(row for row in self.rows if row.run == result.run)
        return f"{row.label}, {result.step:,} steps" if len(self.rows) > 1 else f"{result.step:,} steps"


def arrange(results: Sequence[Result]) -> Grid:
    runs = list(dict.fromkeys(result.run for result in results))
    values = {run: _known(run, results) for run in runs}
    names = dict.fromkeys(name for run in runs for name in values[run])
    common = {name: value for run in runs if _is_whole(run, results) for name, value in values[run].items()}
    told = {run: {**common, **values[run]} for run in runs}  # what a sweep did not note is the same in all its jobs
    keys = [
        name
        for name in names
        if not name.startswith(ELSEWHERE) and len({repr(told[run].get(name)) for run in runs}) > 1
    ]
    distinct = _distinct(keys, [told[run] for run in runs])
    runs.sort(key=lambda run: [_order(told[run].get(name)) for name in distinct])
    labels = [", ".join(_words(name, told[run].get(name)) for name in distinct) or run.name for run in runs]
    rows = [
        Row(
            run,
            label if labels.count(label) == 1 else f"{label} ({run.name})",
            {name: told[run].get(name) for name in keys},
        )
        for run, label in zip(runs, labels, strict=True)
    ]
    cells = {(result.run, result.step): result for result in results}
    return Grid(rows, sorted({result.step for result in results}), keys, distinct, cells)


def _known(run: Path, results: Sequence[Result]) -> dict[str, Any]:
    mine = [result for result in results if result.run == run]
    return max(mine, key=lambda result: (result.finished, result.step)).values


def _is_whole(run: Path, results: Sequence[Result]) -> bool:
    return any(result.run == run and result.finished for result in results)


def _distinct(keys: Sequence[str], told: Sequence[dict[str, Any]]) -> list[str]:
    """Without the keys that part the runs as an earlier one does: lora.alpha follows lora.rank."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for name in sorted(keys, key=lambda key: key == "name"):
        texts = [repr(values.get(name)) for values in told]
        parts = tuple(texts.index(text) for text in texts)
        if parts not in seen:
            seen.add(parts)
            kept.append(name)
    return kept


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, str(value))


def _words(key: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return f"{key.split('.')[-1].replace('_', ' ')} {shown}"


@dataclass(frozen=True)
class Comparison:
    """Held-out losses of the results that were scored alike. to_best: None for the best itself."""

    choice: Choice
    results: list[Result]
    to_base: list[PairedResult]
    to_best: list[PairedResult | None]

    @property
    def best(self) -> Result:
        return self.results[self.choice.best]

    @property
    def smallest(self) -> Result:
        return self.results[self.choice.smallest]


def compare_all(results: Sequence[Result]) -> Comparison | None:
    """None where no result has held-out losses. Small is few parameters of the adapter, then few steps."""
    pairs = [(result, result.held_out) for result in results if result.held_out]
    if not pairs:
        return None
    concepts = pairs[0][1].concepts
    size = [(float(result.summary["adapter"]["parameters"]), float(result.step)) for result, _ in pairs]
    choice = choose([Candidate(losses.final, size[i]) for i, (_, losses) in enumerate(pairs)], concepts)
    best: HeldOutLosses = pairs[choice.best][1]
    return Comparison(
        choice,
        [result for result, _ in pairs],
        [compare(losses.base, losses.final, concepts) for _, losses in pairs],
        [
            None if number == choice.best else compare(best.final, losses.final, concepts)
            for number, (_, losses) in enumerate(pairs)
        ],
    )
