"""Results as a table: a row for each recipe, called by what sets it apart, a column for each step count.

Runs that differ by their seed alone are one row: replicates of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.evaluation.choosing import Candidate, Choice, choose
from emote.evaluation.paired import PairedResult
from emote.evaluation.replicates import compare_replicates
from emote.runs.run_folder import title_of
from emote.sweeps.reports.criteria import Criterion
from emote.sweeps.reports.results import Result, Scores

ELSEWHERE = ("run.", "logger.", "launcher.", "callbacks.", "hub.", "resume_from", "trainer.max_steps")  # is no recipe
SEEDS = ("seed", "lora.seed")


@dataclass(frozen=True)
class Row:
    """A recipe. label: in words.  values: of the keys in which the rows differ.  runs: each with its seed, in words."""

    label: str
    values: dict[str, Any]
    runs: dict[Path, str]


@dataclass(frozen=True)
class Cell:
    """A recipe at a step count: the results of its seeds, finished or not."""

    row: Row
    step: int
    results: list[Result]

    @property
    def finished(self) -> list[Result]:
        return [result for result in self.results if result.finished]

    def scores(self, criterion: Criterion) -> dict[str, Scores]:
        """Of each seed that has some."""
        found = {self.row.runs[result.run]: criterion.read(result) for result in self.finished}
        return {seed: scores for seed, scores in found.items() if scores}


@dataclass(frozen=True)
class Grid:
    """rows, steps: in order.  keys: in which the rows differ; `distinct` without those that say the same as another.

    seeds: the keys by which replicates differ.
    """

    rows: list[Row]
    steps: list[int]
    keys: list[str]
    distinct: list[str]
    seeds: list[str]
    by_run: dict[tuple[Path, int], Result]

    @property
    def replicated(self) -> bool:
        """Whether a recipe was run with several seeds."""
        return any(len(row.runs) > 1 for row in self.rows)

    def cell(self, row: Row, step: int) -> Cell:
        found = [self.by_run.get((run, step)) for run in row.runs]
        return Cell(row, step, [result for result in found if result])

    def cells(self) -> Iterator[Cell]:
        """Those with results, row by row."""
        yield from (cell for row in self.rows for step in self.steps if (cell := self.cell(row, step)).results)

    def results(self) -> Iterator[tuple[Row, Result]]:
        for row in self.rows:
            for run in row.runs:
                for step in self.steps:
                    if result := self.by_run.get((run, step)):
                        yield row, result

    @property
    def finished(self) -> list[Result]:
        return [result for _, result in self.results() if result.finished]

    def label(self, cell: Cell) -> str:
        return f"{cell.row.label}, {cell.step:,} steps" if len(self.rows) > 1 else f"{cell.step:,} steps"

    def run_label(self, row: Row, run: Path) -> str:
        """With the seed where the row has several."""
        return f"{row.label}, {row.runs[run]}" if len(row.runs) > 1 else row.label


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
    groups = _recipes(runs, told, keys)
    firsts = [group[0] for group in groups]
    apart = [key for key in keys if key not in SEEDS and len({repr(told[run].get(key)) for run in firsts}) > 1]
    if all(len(group) == 1 for group in groups):
        apart = keys  # runs that have a seed each are told apart by it too
    distinct = _distinct(apart, [told[run] for run in firsts])
    groups.sort(key=lambda group: [_order(told[group[0]].get(name)) for name in distinct])
    labels = [_label(group, told, distinct) for group in groups]
    seeds = _distinct([key for key in keys if key in SEEDS], [told[run] for run in runs])
    rows = [
        Row(
            label if labels.count(label) == 1 else f"{label} ({group[0].name})",
            {name: told[group[0]].get(name) for name in keys if name not in SEEDS or len(group) == 1},
            {run: ", ".join(_words(name, told[run].get(name)) for name in seeds) or run.name for run in group},
        )
        for group, label in zip(groups, labels, strict=True)
    ]
    by_run = {(result.run, result.step): result for result in results}
    return Grid(rows, sorted({result.step for result in results}), keys, distinct, seeds, by_run)


def _recipes(runs: Sequence[Path], told: dict[Path, dict[str, Any]], keys: Sequence[str]) -> list[list[Path]]:
    """Runs that differ by their seeds alone (and by what they are called), together.

    Two of the same seed are no replicates, whatever sets them apart (other images, another revision): these stand
    alone.
    """

    def value(run: Path, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(repr(told[run].get(name)) for name in names)

    found: dict[tuple[str, ...], list[Path]] = {}
    for run in runs:
        found.setdefault(value(run, [key for key in keys if key not in (*SEEDS, "name")]), []).append(run)
    groups = []
    for group in found.values():
        ordered = sorted(group, key=lambda run: [_order(told[run].get(name)) for name in SEEDS])
        alike = len({value(run, SEEDS) for run in ordered}) < len(ordered)
        groups += [[run] for run in ordered] if alike else [ordered]
    return groups


def _label(group: Sequence[Path], told: dict[Path, dict[str, Any]], distinct: Sequence[str]) -> str:
    words = ", ".join(_words(name, told[group[0]].get(name)) for name in distinct)
    return words or (group[0].name if len(group) == 1 else title_of(group[0].name))


def _known(run: Path, results: Sequence[Result]) -> dict[str, Any]:
    mine = [result for result in results if result.run == run]
    return max(mine, key=lambda result: (result.finished, result.step)).values


def _is_whole(run: Path, results: Sequence[Result]) -> bool:
    return any(result.run == run and result.finished for result in results)


def _distinct(keys: Sequence[str], told: Sequence[dict[str, Any]]) -> list[str]:
    """Without the keys that part the runs as an earlier one does: lora.alpha follows lora.rank."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for name in sorted(keys, key=lambda key: (key == "name", key in SEEDS)):
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
    shown = f"{value:g}" if isinstance(value, float) else "none" if value is None or value == [] else str(value)
    called = "adapter seed" if key == "lora.seed" else key.split(".")[-1].replace("_", " ")
    return f"{called} {shown}"


@dataclass(frozen=True)
class Comparison:
    """The cells that were scored on the same images. to_best: None for the best itself.

    Only those with as many seeds as any take part in the choice: one seed among several may be a lucky one.
    """

    criterion: Criterion
    choice: Choice
    cells: list[Cell]
    to_base: list[PairedResult]
    to_best: list[PairedResult | None]
    seeds: int

    @property
    def best(self) -> Cell:
        return self.cells[self.choice.best]

    @property
    def smallest(self) -> Cell:
        return self.cells[self.choice.smallest]

    def by_seed(self, cell: Cell) -> dict[str, tuple[float, ...]]:
        """The adapters' figures of each image, by seed."""
        return {seed: scores.final for seed, scores in cell.scores(self.criterion).items()}


def compare_all(cells: Sequence[Cell], criterion: Criterion) -> Comparison | None:
    """None where no cell has such figures. Small is few parameters of the adapter, then few steps."""
    cells = _alike(cells, criterion)
    if not cells:
        return None
    scores = [cell.scores(criterion) for cell in cells]
    concepts = next(iter(scores[0].values())).concepts
    finals: list[dict[str, Sequence[float]]] = [{seed: own.final for seed, own in s.items()} for s in scores]
    bases: list[dict[str, Sequence[float]]] = [{seed: own.base for seed, own in s.items()} for s in scores]
    most = max(map(len, scores))
    chosen = [number for number, own in enumerate(scores) if len(own) == most]
    choice = choose([_candidate(cells[number], finals[number], criterion) for number in chosen], concepts)
    best = chosen[choice.best]
    return Comparison(
        criterion,
        Choice(best, chosen[choice.smallest], [chosen[number] for number in choice.within]),
        cells,
        [compare_replicates(base, final, concepts) for base, final in zip(bases, finals, strict=True)],
        [
            None if number == best else compare_replicates(finals[best], final, concepts)
            for number, final in enumerate(finals)
        ],
        most,
    )


def _candidate(cell: Cell, finals: dict[str, Sequence[float]], criterion: Criterion) -> Candidate:
    low = {seed: [criterion.sign * value for value in values] for seed, values in finals.items()}
    return Candidate(low, (float(cell.finished[0].summary["adapter"]["parameters"]), float(cell.step)))


def _alike(cells: Sequence[Cell], criterion: Criterion) -> list[Cell]:
    """Those whose results were scored on the same images as most; of each the results that were."""
    by_images: dict[tuple[str, ...], list[Result]] = {}
    for cell in cells:
        for result in cell.finished:
            if scores := criterion.read(result):
                by_images.setdefault(scores.names, []).append(result)
    most = max(by_images.values(), key=len, default=[])
    kept = [Cell(cell.row, cell.step, [result for result in cell.finished if result in most]) for cell in cells]
    return [cell for cell in kept if cell.results]
