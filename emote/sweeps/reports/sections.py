"""The parts of a report: what it says in tables, drawings and sheets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from emote.evaluation.paired import PairedResult, compare
from emote.runs.metrics_file import MetricsFile
from emote.runs.run_folder import RunFolder
from emote.sweeps.index import FAILED
from emote.sweeps.reports.answer import NOTHING_HELD_OUT, Report, answer
from emote.sweeps.reports.criteria import CRITERIA, LOSS
from emote.sweeps.reports.document import Block, Code, Drawing, Section, Sheet, Table, Text
from emote.sweeps.reports.drawing import Bar, Line, draw_curves
from emote.sweeps.reports.grid import Cell, Comparison, Grid, Row, compare_all
from emote.sweeps.reports.results import Result
from emote.util.units import readable_bytes, readable_seconds

DASH = "–"


def summary_of(report: Report) -> list[Block]:
    grid = report.grid
    jobs = [result for _, result in grid.results() if result.rank is None]
    finished = [result for result in jobs if result.finished]
    runs = len({result.run for result in jobs})
    seeds = f" ({len(grid.rows)} recipes, each with several seeds)" if grid.replicated and len(grid.rows) > 1 else ""
    steps = ", ".join(f"{step:,}" for step in grid.steps)
    done = f"{len(finished)} of {len(jobs)} jobs are finished: {runs} runs{seeds}, to {steps} steps."
    blocks: list[Block] = [Text(done), *([Code(report.command)] if report.command else []), *_cost_of_nested(grid)]
    if report.main:
        return [*blocks, *(Text(line) for line in answer(report))]
    return [*blocks, Text(NOTHING_HELD_OUT)] if grid.finished else blocks


def _cost_of_nested(grid: Grid) -> Iterator[Text]:
    """What the ranks of nested runs cost, where there are such runs."""
    smaller = [result for _, result in grid.results() if result.rank is not None]
    nesting = {result.folder.root for result in smaller}
    whole = [result for result in grid.finished if result.rank is None and result.run in nesting]
    if not smaller:
        return
    last = {result.run: result for result in sorted(whole, key=lambda result: result.step)}.values()
    steps, seconds = sum(result.step for result in last), sum(result.training_seconds for result in last)
    runs = f"{len(last)} training run{'s' * (len(last) > 1)} with nested ranks"
    yield Text(
        f"{len(smaller) + len(whole)} of the figures, each a rank at a step count, come from {runs}: {steps:,} steps, "
        f"{readable_seconds(seconds)}. A rank's adapter lies in `rank-<r>` of the step count's directory."
    )


def sections_of(report: Report, output: Path) -> Iterator[Section]:
    """output: where the report will lie, for the paths in it."""
    grid, loss = report.grid, report.compared.get(LOSS.key)
    for compared in report.compared.values():
        yield Section(compared.criterion.title, [Text(_about(compared)), heat_map(grid, compared)])
    if report.main:
        yield Section("Best under a budget", [Text(_about_choice(report.main)), _budgets(report, report.main)])
    if loss:
        yield Section("Over the steps", [Text(_about_curves(grid)), *_curves(grid, loss)])
    if sheets := list(sheets_of(grid)):
        yield Section("The same prompt and noise", [Text(ABOUT_SHEETS), *sheets])
    if grid.replicated and report.main:
        yield Section("Every cell", [Text(ABOUT_CELLS), _cells(report, report.main)])
    yield Section("Every job", [Text(ABOUT_JOBS), _jobs(report, output)])
    if differences := _differences(grid):
        yield Section("What differs", differences)
    if failures := _failures(grid, output):
        yield Section("What failed", failures)


ABOUT_SHEETS = "In each row the base model first, then the adapter at each step count; the noise is the same in all."
ABOUT_CELLS = (
    "Each recipe at each step count, over its seeds. ± is the half-width of a 95 % interval about the mean of other "
    "seeds (Student's t). Differences are paired by seed and image, their 95 % intervals are about other concepts and "
    "other seeds (jackknife over concepts, the variance of the seeds added, Satterthwaite's degrees of freedom)."
)
ABOUT_JOBS = (
    "Differences with 95 % intervals (paired bootstrap over concepts). Time is that of all optimizer steps up to "
    "there, and the median step; memory is the peak of the job's last process, of the GPU where there is one; size is "
    "that of the adapter file."
)


def _about(compared: Comparison) -> str:
    criterion, some = compared.criterion, compared.to_base[0]
    bases = [result.base for result in compared.to_base]
    base = f"the base model has {criterion.show(min(bases))}"
    if max(bases) - min(bases) > 1e-6:  # other models, or one in other arithmetic
        ends = f"{criterion.show(min(bases))} to {criterion.show(max(bases))}"
        base = f"their base models have {ends}, so compare the differences"
    which = "the highest" if criterion.higher_is_better else "the lowest"
    seeds = "" if compared.seeds < 2 else (
        f" A figure is the mean of up to {compared.seeds} seeds; ± is the half-width of its 95 % interval about other "
        "seeds."
    )  # fmt: skip
    few = " With so few images, small differences are chance: `emote evaluate` looks closely."
    return (
        f"{criterion.about.format(items=some.items, concepts=some.concepts)}; {base}.{seeds} In brackets the "
        f"difference to the base model; ★ is {which}, ◆ the smallest adapter within one standard error of it."
        f"{few if criterion.higher_is_better else ''}"
    )


def _about_choice(compared: Comparison) -> str:
    name = compared.criterion.best[0].lower() + compared.criterion.best[1:]
    pairing = "seed by seed and image by image" if compared.seeds > 1 else "image by image"
    return (
        f"What is best by “{name}” within so many steps, and the smallest adapter (then the fewest steps) within one "
        f"standard error of it: of the difference, {pairing}, with whole concepts as the unit. Among many results "
        "the best is in part luck; the smaller one is as good as far as these images can tell."
    )


def _about_curves(grid: Grid) -> str:
    seeds = " A line is the mean over its seeds, and its bars are about other seeds too." if grid.replicated else ""
    return (
        "Difference of the held-out loss to the base model; lower is better. Bars are 95 % intervals of that "
        "difference, paired by image, concepts resampled. All runs are scored on the same images and noise, so between "
        f"two of them look at the differences to the best in the table below, not at whether bars overlap.{seeds}"
    )


def heat_map(grid: Grid, compared: Comparison) -> Table:
    """A figure for each recipe and step count, shaded from worst to best."""
    criterion = compared.criterion
    found = {(id(cell.row), cell.step): number for number, cell in enumerate(compared.cells)}
    finals = [result.final for result in compared.to_base]
    low, high = min(finals), max(finals)
    rows, shades = [], []
    for row in grid.rows:
        texts, tints = [row.label], [None]
        for step in grid.steps:
            number = found.get((id(row), step))
            texts.append(_missing(grid.cell(row, step)) if number is None else _shown(compared, number))
            part = None if number is None else (finals[number] - low) / ((high - low) or 1)
            tints.append(part if part is None or criterion.higher_is_better else 1 - part)  # type: ignore[arg-type]
        rows.append(texts)
        shades.append(tints)
    return Table(["run", *(f"{step:,} steps" for step in grid.steps)], rows, shades)


def _shown(compared: Comparison, number: int) -> str:
    criterion, cell, found = compared.criterion, compared.cells[number], compared.to_base[number]
    by_seed = compared.by_seed(cell)
    text = f"{criterion.show(found.final)}{criterion.show_spread(by_seed)} ({criterion.show_change(found)})"
    few = f", {len(by_seed)} of {len(cell.row.runs)} seeds" if len(by_seed) < len(cell.row.runs) else ""
    best = " ★" if cell is compared.best else ""
    return f"{text}{few}{' ◆' if cell is compared.smallest and not best else ''}{best}"


def _missing(cell: Cell) -> str:
    """In what state a cell without a figure is."""
    states = dict.fromkeys(result.state for result in cell.results if not result.finished)
    return ", ".join(states) or DASH


def _budgets(report: Report, compared: Comparison) -> Table:
    rows = []
    for step in report.grid.steps:
        if within := compare_all([cell for cell in compared.cells if cell.step <= step], compared.criterion):
            rows.append(
                [f"{step:,}", *(_named(report, within, n) for n in (within.choice.best, within.choice.smallest))]
            )
    return Table(["steps at most", compared.criterion.best.lower(), "smallest within one standard error"], rows)


def _named(report: Report, compared: Comparison, number: int) -> str:
    cell, found = compared.cells[number], compared.to_base[number]
    size = readable_bytes(cell.finished[0].adapter_bytes)
    return f"{report.grid.label(cell)}: {compared.criterion.show(found.final)}, {size}"


def _curves(grid: Grid, compared: Comparison) -> list[Block]:
    lines = []
    for row in grid.rows:
        own = [
            (cell, to_base) for cell, to_base in zip(compared.cells, compared.to_base, strict=True) if cell.row is row
        ]
        if own:
            bars = [Bar(cell.step, to_base.difference, to_base.interval_95) for cell, to_base in own]
            lines.append(Line(row.label, [(0.0, 0.0), *_on_the_way(row, own[0][1].base)], bars))
    titles = ("optimizer steps", "held-out loss − base model's")
    wide, narrow = (draw_curves(lines, *titles, narrow) for narrow in (False, True))
    about = "held-out loss over the steps, difference to the base model"
    return [Drawing("curves.svg", wide, about, narrow)] if wide else []


def _on_the_way(row: Row, base: float) -> list[tuple[float, float]]:
    """The held-out loss at each step at which every run of the row was scored, as a difference to the base model's."""
    scored = [
        {
            r["step"]: r["validation_loss"]
            for r in MetricsFile(RunFolder(run).metrics.path).rows()
            if "validation_loss" in r
        }
        for run in row.runs
    ]
    scored = [losses for losses in scored if losses]
    steps = sorted(set.intersection(*map(set, scored))) if scored else []
    return [(step, fmean(losses[step] for losses in scored) - base) for step in steps]


def sheets_of(grid: Grid) -> Iterator[Sheet]:
    """Of the prompts and seeds that all finished results drew with the same settings."""
    if not grid.finished:
        return
    drawn = [_drawn(result) for result in grid.finished]
    for number, (prompt, seed) in enumerate(drawn[0]):
        if all(number < len(other) and other[number] == (prompt, seed) for other in drawn):
            yield Sheet(
                file=f"sheet-{number:02d}.png",
                title=f"“{prompt}”, seed {seed}",
                columns=["base model", *(f"{step:,} steps" for step in grid.steps)],
                rows=[
                    (grid.run_label(row, run), _images(grid, run, number))
                    for row in grid.rows
                    for run, whole in ((run, _is_whole(grid, run)) for run in row.runs)
                    if whole  # of nested ranks only the largest was drawn
                ],
            )


def _is_whole(grid: Grid, run: Path) -> bool:
    return all(result.rank is None for (own, _), result in grid.by_run.items() if own == run)


def _drawn(result: Result) -> list[tuple[str, int]]:
    first = result.values.get("callbacks.samples.seed", 0)
    prompts = result.values.get("callbacks.samples.prompts") or []
    return [(prompt, first + number) for number, prompt in enumerate(prompts)]


def _images(grid: Grid, run: Path, number: int) -> list[Path | None]:
    results = [grid.by_run.get((run, step)) for step in grid.steps]
    tuned = [result.image(number, "fine-tuned") if result else None for result in results]
    base = next((file for result in results if result and (file := result.image(number, "base"))), None)
    return [base, *tuned]


def _cells(report: Report, main: Comparison) -> Table:
    """Every cell by every criterion, and its difference to the best by the one that was asked for."""
    head = ["recipe", "steps", "seeds"]
    for compared in report.compared.values():
        head += [compared.criterion.title.lower(), "to the base model"]
    rows = []
    for cell in report.grid.cells():
        row = [cell.row.label, f"{cell.step:,}", f"{len(cell.finished)} of {len(cell.row.runs)}"]
        for compared in report.compared.values():
            number = _number_of(compared, cell)
            if number is None:
                row += [_missing(cell), DASH]
                continue
            found = compared.to_base[number]
            spread = compared.criterion.show_spread(compared.by_seed(compared.cells[number]))
            row += [f"{compared.criterion.show(found.final)}{spread}", compared.criterion.show_difference(found)]
        number = _number_of(main, cell)
        best = main.to_best[number] if number is not None else None
        rows.append([*row, main.criterion.show_difference(best) if best else DASH])
    return Table([*head, "to the best"], rows)


def _number_of(compared: Comparison, cell: Cell) -> int | None:
    places = ((number, other) for number, other in enumerate(compared.cells))
    return next((number for number, other in places if (other.row, other.step) == (cell.row, cell.step)), None)


def _jobs(report: Report, output: Path) -> Table:
    """Of each job its own figures. Where there are no replicates, also its difference to the best."""
    grid, main = report.grid, report.main
    by_job = {
        key: {(result.run, result.step) for cell in found.cells for result in cell.results}
        for key, found in report.compared.items()
    }
    alone = main is not None and not grid.replicated
    head = ["job", "steps"]
    keys = list(report.compared) or [LOSS.key]
    for key in keys:
        head += [CRITERIA[key].title.lower(), *(["to the base model"] if key == keys[0] else [])]
    head += [*(["to the best"] if alone else []), "time", "a step", "memory", "size", "directory"]
    rows = []
    for row, result in grid.results():
        cells = [grid.run_label(row, result.run), f"{result.step:,}"]
        for key in keys:
            found = _to_base(result, key) if (result.run, result.step) in by_job.get(key, ()) else None
            shown = CRITERIA[key].show(found.final) if found else DASH if result.finished else result.state
            to_base = CRITERIA[key].show_difference(found) if found else DASH
            cells += [shown, to_base] if key == keys[0] else [shown]
        if alone:
            assert main is not None
            number = _number_of(main, grid.cell(row, result.step))
            best = main.to_best[number] if number is not None else None
            cells.append(main.criterion.show_difference(best) if best else DASH)
        path = os.path.relpath(result.path if result.finished else result.run, output)
        rows.append([*cells, *(_costs(result) if result.finished else [DASH] * 4), f"`{path}`"])
    return Table(head, rows)


def _to_base(result: Result, key: str) -> PairedResult | None:
    scores = CRITERIA[key].read(result)
    return compare(scores.base, scores.final, scores.concepts) if scores else None


def _costs(result: Result) -> list[str]:
    memory = result.summary["peak_memory_bytes"]
    return [
        readable_seconds(result.training_seconds),
        f"{result.summary['seconds_per_step']:.3g} s",
        readable_bytes(memory["device"] or memory["host"]),
        readable_bytes(result.adapter_bytes),
    ]


def _differences(grid: Grid) -> list[Block]:
    found: list[Block] = []
    keys = [key for key in grid.keys if any(key in row.values for row in grid.rows)]
    if keys or grid.replicated:
        head = ["run", *(f"`{name}`" for name in keys), *(["seeds"] if grid.replicated else [])]
        rows = []
        for row in grid.rows:
            seeds = [", ".join(row.runs.values())] if grid.replicated else []
            rows.append([row.label, *(str(row.values.get(name, DASH)) for name in keys), *seeds])
        found.append(Table(head, rows))
    devices = sorted({f"{r.summary['device']}, {r.summary['precision']['frozen']}" for r in grid.finished})
    revisions = sorted({str(r.summary["git_revision"]) for r in grid.finished})
    if len(devices) > 1:
        found.append(Text(f"Computed on {' and '.join(devices)}: losses differ by rounding too."))
    if len(revisions) > 1:
        found.append(Text(f"Made by different revisions of the code: {', '.join(f'`{r[:12]}`' for r in revisions)}."))
    return found


def _failures(grid: Grid, output: Path) -> list[Block]:
    failed = [(row, result) for row, result in grid.results() if result.state == FAILED]
    if not failed:
        return []
    rows = [
        [
            f"{grid.run_label(row, result.run)}, {result.step:,} steps",
            result.error or DASH,
            f"`{os.path.relpath(result.log, output)}`" if result.log else DASH,
        ]
        for row, result in failed
    ]
    return [Table(["job", "why", "traceback"], rows), Text("The same command again runs what failed.")]
