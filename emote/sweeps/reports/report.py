"""Which of the runs, and for how long? The answer as a page, as Markdown, and in a few lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emote.evaluation.paired import PairedResult
from emote.runs.metrics_file import MetricsFile
from emote.runs.run_folder import RunFolder
from emote.sweeps.index import FAILED
from emote.sweeps.reports.document import Block, Code, Document, Drawing, Section, Sheet, Table, Text
from emote.sweeps.reports.drawing import Bar, Line, draw_curves
from emote.sweeps.reports.grid import Comparison, Grid, Row, arrange, compare_all
from emote.sweeps.reports.markdown_report import write_markdown
from emote.sweeps.reports.page import as_page
from emote.sweeps.reports.results import Result, gather
from emote.util.console import echo
from emote.util.files import write_text
from emote.util.markdown import percent, table
from emote.util.units import readable_bytes, readable_seconds

DASH = "–"
PAGE, IMAGES = "report.html", "report"  # the folder of what report.md shows
NOTHING_HELD_OUT = "Nothing was held out (`data.held_out=0`), so there is no loss to choose by: look at the images."


@dataclass(frozen=True)
class Report:
    """title: what it is about.  command: of a sweep."""

    title: str
    command: str | None
    grid: Grid
    compared: Comparison | None

    def short(self) -> list[str]:
        """Return the report in a few lines, for the terminal."""
        if not self.grid.finished:
            return ["no job has finished yet"]
        return [*table(*_losses(self)), "", *answer(self)] if self.compared else [NOTHING_HELD_OUT]


def read_report(said: Sequence[Path | str], runs_dir: Path = Path("runs")) -> Report:
    """Of sweeps and runs, finished or not. Raises ConfigError for what is neither."""
    results, command = gather(map(str, said), runs_dir)
    grid = arrange(results)
    title = Path(said[0]).name if len(said) == 1 else f"{len(grid.rows)} runs"
    return Report(title, command, grid, compare_all(grid.comparable))


def write_report(
    said: Sequence[Path | str], output: Path, runs_dir: Path = Path("runs"), sections: Sequence[Section] = ()
) -> Report:
    """Write report.html, and report.md with its images in report/, to a directory. sections: to be added."""
    report = read_report(said, runs_dir)
    document = as_document(report, output)
    document.sections.extend(sections)
    shutil.rmtree(output / IMAGES, ignore_errors=True)  # of an earlier one with other prompts
    write_markdown(document, output / "report.md", IMAGES)
    write_text(output / PAGE, as_page(document))
    return report


def print_report(report: Report) -> None:
    echo("\n" + "\n".join(report.short()))


def as_document(report: Report, output: Path) -> Document:
    """output: where it will lie, for the paths in it."""
    grid = report.grid
    jobs = list(grid.results())
    done = f"{len(grid.finished)} of {len(jobs)} jobs are finished: {len(grid.rows)} runs, {_steps(grid)}."
    summary: list[Block] = [Text(done), *([Code(report.command)] if report.command else [])]
    sections: list[Section] = []
    if report.compared:
        summary += [Text(line) for line in answer(report)]
        sections.append(Section("Held-out loss", [Text(_about_loss(report.compared)), heat_map(report)]))
        sections.extend(_looks(report))
        sections.append(Section("Best under a budget", [Text(ABOUT_CHOICE), _budgets(report)]))
        sections.append(Section("Over the steps", [Text(ABOUT_CURVES), *_curves(report)]))
    elif grid.finished:
        summary.append(Text(NOTHING_HELD_OUT))
    if sheets := list(sheets_of(grid)):
        sections.append(Section("The same prompt and noise", [Text(ABOUT_SHEETS), *sheets]))
    sections.append(Section("Every job", [Text(ABOUT_JOBS), _jobs(report, output)]))
    if differences := _differences(grid):
        sections.append(Section("What differs", differences))
    if failures := _failures(grid, output):
        sections.append(Section("What failed", failures))
    return Document(f"Sweep {report.title}" if report.command else f"Report on {report.title}", summary, sections)


ABOUT_CHOICE = (
    "The lowest loss within so many steps, and the smallest adapter (then the fewest steps) whose loss is within one "
    "standard error of it: of the difference, image by image, with whole concepts as the unit. Among many results "
    "the lowest is in part luck; the smaller one is as good as far as these images can tell."
)
ABOUT_CURVES = (
    "Difference of the held-out loss to the base model; lower is better. Bars are 95 % intervals of that difference, "
    "paired by image, concepts resampled. All runs are scored on the same images and noise, so between two of them "
    "look at the differences to the best in the table below, not at whether bars overlap."
)
ABOUT_SHEETS = "In each row the base model first, then the adapter at each step count; the noise is the same in all."
ABOUT_JOBS = (
    "Differences with 95 % intervals (paired bootstrap over concepts). Time is that of all optimizer steps up to "
    "there, and the median step; memory is the peak of the job's last process, of the GPU where there is one; size is "
    "that of the adapter file."
)


def _steps(grid: Grid) -> str:
    return f"to {', '.join(f'{step:,}' for step in grid.steps)} steps"


def _about_loss(compared: Comparison) -> str:
    some = compared.to_base[0]
    bases = [result.base for result in compared.to_base]
    base = f"the base model has {min(bases):.5f}"
    if max(bases) - min(bases) > 1e-6:  # other models, or one in other arithmetic
        base = f"their base models have {min(bases):.5f} to {max(bases):.5f}, so compare the differences"
    return (
        f"Mean over {some.items} images of {some.concepts} concepts that were kept from training, unweighted, the "
        f"same noise for each; {base}. In brackets the difference to the base model; ★ is the lowest, ◆ the smallest "
        "within one standard error of it."
    )


def answer(report: Report) -> list[str]:
    compared, grid = report.compared, report.grid
    assert compared is not None
    best, smallest = compared.best, compared.smallest
    loss = compared.to_base[compared.choice.best]
    lines = [
        f"Lowest held-out loss: {loss.final:.5f} ({percent(loss.relative)} to the base model), {grid.label(best)}."
    ]
    if smallest is best:
        lines.append("No smaller adapter, nor fewer steps of the same, is within one standard error of it.")
    else:
        apart = compared.to_best[compared.choice.smallest]
        assert apart is not None
        lines.append(
            f"Smallest within one standard error of it: {grid.label(smallest)} ({apart.final:.5f}, "
            f"{readable_bytes(smallest.adapter_bytes)})."
        )
    horizons = {(result.step, result.values.get("trainer.schedule_steps")) for result in grid.finished}
    if len({step for step, _ in horizons}) > 1 and len({horizon for _, horizon in horizons}) > 1:
        lines.append("Each step count is a run of its own, none the start of another: their schedules end elsewhere.")
    if left := len(list(grid.results())) - len(grid.finished):
        lines.append(f"{left} {'jobs are' if left > 1 else 'job is'} not finished; this may change.")
    return lines


def _losses(report: Report) -> tuple[list[str], list[list[str]]]:
    grid, compared = report.grid, report.compared
    assert compared is not None
    to_base = {(r.run, r.step): result for r, result in zip(compared.results, compared.to_base, strict=True)}
    marks = {(compared.smallest.run, compared.smallest.step): " ◆", (compared.best.run, compared.best.step): " ★"}
    rows = []
    for row in grid.rows:
        cells = []
        for step in grid.steps:
            found = to_base.get((row.run, step))
            text = f"{found.final:.5f} ({percent(found.relative)})" if found else _missing(grid.cell(row, step))
            cells.append(text + marks.get((row.run, step), ""))
        rows.append([row.label, *cells])
    return ["run", *(f"{step:,} steps" for step in grid.steps)], rows


def _missing(result: Result | None) -> str:
    return "–" if result is None or result.finished else result.state


def heat_map(report: Report) -> Table:
    grid, compared = report.grid, report.compared
    assert compared is not None
    finals = {(r.run, r.step): result.final for r, result in zip(compared.results, compared.to_base, strict=True)}
    low, high = min(finals.values()), max(finals.values())

    def shade(row: Row, step: int) -> float | None:
        found = finals.get((row.run, step))
        return None if found is None else (high - found) / ((high - low) or 1)

    head, rows = _losses(report)
    return Table(head, rows, [[None, *(shade(row, step) for step in grid.steps)] for row in grid.rows])


JUDGED = {"recognised_top5": "Recognised", "usable": "Usable in a pack"}
ABOUT_LOOKS = (
    "Of the few images that each run draws at its end, the share that {what}; {base} of the base model's. With so few, "
    "small differences are chance: `emote evaluate` looks closely."
)
WHAT = {"recognised_top5": "a judge recognises within five guesses", "usable": "a pack can take"}


def looks_of(result: Result, key: str, kind: str = "fine_tuned") -> float | None:
    """A figure of the images that were judged at a run's end; None where none were."""
    images = result.summary.get("images") if result.finished else None
    return float(images[kind][key]["value"]) if images else None


def _looks(report: Report) -> Iterator[Section]:
    """A heat map for each figure of the images."""
    grid = report.grid
    for key, title in JUDGED.items():
        known = {(r.run, r.step): value for _, r in grid.results() if (value := looks_of(r, key)) is not None}
        if not known:
            continue
        low, high = min(known.values()), max(known.values())
        rows, shades = [], []
        for row in grid.rows:
            values = [known.get((row.run, step)) for step in grid.steps]
            rows.append([row.label, *(DASH if value is None else f"{value:.0%}" for value in values)])
            shades.append([None, *(None if v is None else (v - low) / ((high - low) or 1) for v in values)])
        base = next(v for _, r in grid.results() if (v := looks_of(r, key, "base")) is not None)
        about = ABOUT_LOOKS.format(what=WHAT[key], base=f"{base:.0%}")
        head = ["run", *(f"{step:,} steps" for step in grid.steps)]
        yield Section(title, [Text(about), Table(head, rows, shades)])


def _budgets(report: Report) -> Table:
    rows = []
    for step in report.grid.steps:
        within = compare_all([result for result in report.grid.comparable if result.step <= step])
        if within:
            rows.append([f"{step:,}", *(_named(report, within, r) for r in (within.best, within.smallest))])
    return Table(["steps at most", "lowest loss", "smallest within one standard error"], rows)


def _named(report: Report, compared: Comparison, result: Result) -> str:
    loss = compared.to_base[compared.results.index(result)].final
    return f"{report.grid.label(result)}: {loss:.5f}, {readable_bytes(result.adapter_bytes)}"


def _curves(report: Report) -> list[Block]:
    compared = report.compared
    assert compared is not None
    lines = []
    for row in report.grid.rows:
        pairs = zip(compared.results, compared.to_base, strict=True)
        own = [(result.step, to_base) for result, to_base in pairs if result.run == row.run]
        if own:
            bars = [Bar(step, to_base.difference, to_base.interval_95) for step, to_base in own]
            base = own[0][1].base
            scored = [r for r in MetricsFile(RunFolder(row.run).metrics.path).rows() if "validation_loss" in r]
            points = [(0.0, 0.0), *((r["step"], r["validation_loss"] - base) for r in scored)]
            lines.append(Line(row.label, points, bars))
    svg = draw_curves(lines, "optimizer steps", "held-out loss − base model's")
    return [Drawing("curves.svg", svg, "held-out loss over the steps, difference to the base model")] if svg else []


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
                rows=[(row.label, _images(grid, row, number)) for row in grid.rows],
            )


def _drawn(result: Result) -> list[tuple[str, int]]:
    first = result.values.get("callbacks.samples.seed", 0)
    prompts = result.values.get("callbacks.samples.prompts") or []
    return [(prompt, first + number) for number, prompt in enumerate(prompts)]


def _images(grid: Grid, row: Row, number: int) -> list[Path | None]:
    cells = [grid.cell(row, step) for step in grid.steps]
    tuned = [cell.image(number, "fine-tuned") if cell else None for cell in cells]
    base = next((file for cell in cells if cell and (file := cell.image(number, "base"))), None)
    return [base, *tuned]


def _jobs(report: Report, output: Path) -> Table:
    compared = report.compared
    pairs: dict[tuple[Path, int], tuple[PairedResult, PairedResult | None]] = {}
    if compared:
        found = zip(compared.results, compared.to_base, compared.to_best, strict=True)
        pairs = {(result.run, result.step): (base, best) for result, base, best in found}
    looks = [key for key in JUDGED if any(looks_of(result, key) is not None for _, result in report.grid.results())]
    titles = [JUDGED[key].lower() for key in looks]
    head = [
        "job",
        "steps",
        "held-out loss",
        "to the base model",
        "to the lowest",
        *titles,
        "time",
        "a step",
        "memory",
        "size",
    ]
    rows = []
    for row, result in report.grid.results():
        base, best = pairs.get((result.run, result.step), (None, None))
        rows.append(
            [
                row.label,
                f"{result.step:,}",
                f"{base.final:.5f}" if base else _missing(result),
                _difference(base),
                _difference(best),
                *(_share(looks_of(result, key)) for key in looks),
                *(_costs(result) if result.finished else ["–"] * 4),
                f"`{os.path.relpath(result.path if result.finished else result.run, output)}`",
            ]
        )
    return Table([*head, "directory"], rows)


def _difference(result: PairedResult | None) -> str:
    if result is None:
        return "–"
    numbers = [f"{value:+.5f}".replace("-", "−") for value in (result.difference, *(result.interval_95 or ()))]
    return f"{numbers[0]} ({' to '.join(numbers[1:])})" if result.interval_95 else numbers[0]


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.0%}"


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
    if grid.keys:
        rows = [[row.label, *(str(row.values[name]) for name in grid.keys)] for row in grid.rows]
        found.append(Table(["run", *(f"`{name}`" for name in grid.keys)], rows))
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
            f"{row.label}, {result.step:,} steps",
            result.error or "–",
            f"`{os.path.relpath(result.log, output)}`" if result.log else "–",
        ]
        for row, result in failed
    ]
    return [Table(["job", "why", "traceback"], rows), Text("The same command again runs what failed.")]
