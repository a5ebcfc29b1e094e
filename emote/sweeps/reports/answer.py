"""Which of the runs, and for how long? What runs have left, compared, and the answer in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emote.sweeps.reports.criteria import CRITERIA, LOSS, Criterion
from emote.sweeps.reports.grid import Cell, Comparison, Grid, arrange, compare_all
from emote.sweeps.reports.results import gather
from emote.util.errors import ConfigError
from emote.util.hints import not_one_of
from emote.util.units import readable_bytes

NOTHING_HELD_OUT = "Nothing was held out (`data.held_out=0`), so there is no loss to choose by: look at the images."
NOT_JUDGED = "no image of these runs was judged: runs of 600 steps or more do so at their end"


@dataclass(frozen=True)
class Report:
    """title: what it is about.  command: of a sweep.  best: what is asked for.  compared: by criterion, those for which
    there are figures."""

    title: str
    command: str | None
    grid: Grid
    best: Criterion
    compared: dict[str, Comparison]

    @property
    def main(self) -> Comparison | None:
        """By what was asked for."""
        return self.compared.get(self.best.key)


def read_report(said: Sequence[Path | str], runs_dir: Path = Path("runs"), best: str = LOSS.key) -> Report:
    """Of sweeps and runs, finished or not. best: what the best is chosen by, a key of CRITERIA.

    Raises ConfigError for what is neither, and for a `best` that these runs have no figures for.
    """
    if best not in CRITERIA:
        raise ConfigError(not_one_of("best", best, list(CRITERIA)))
    results, command = gather(map(str, said), runs_dir)
    grid = arrange(results)
    title = Path(said[0]).name if len(said) == 1 else f"{len(grid.rows)} runs"
    cells = list(grid.cells())
    compared = {key: found for key, criterion in CRITERIA.items() if (found := compare_all(cells, criterion))}
    if best != LOSS.key and best not in compared:
        raise ConfigError(f"best={best}: {NOT_JUDGED} (callbacks.evaluation.from_steps), `emote evaluate` at any time")
    return Report(title, command, grid, CRITERIA[best], compared)


def answer(report: Report) -> list[str]:
    """Which is best, by what was asked for and by what else there is to choose by."""
    main, grid = report.main, report.grid
    assert main is not None
    lines = [f"{_best(grid, main)}."]
    if main.smallest is main.best:
        lines.append("No smaller adapter, nor fewer steps of the same, is within one standard error of it.")
    else:
        shown = main.criterion.show(main.to_base[main.choice.smallest].final)
        size = readable_bytes(main.smallest.finished[0].adapter_bytes)
        lines.append(f"Smallest within one standard error of it: {grid.label(main.smallest)} ({shown}, {size}).")
    lines += [f"{_best(grid, other)}." for other in report.compared.values() if other is not main]
    if main.seeds > 1:
        lines.append("Seeds are replicates: none is better than another, so draw with any of them.")
    fewer = sum(len(cell.finished) < main.seeds for cell in main.cells)
    if fewer:
        lines.append(
            f"{fewer} {'cells have' if fewer > 1 else 'cell has'} fewer than {main.seeds} seeds and "
            f"{'take' if fewer > 1 else 'takes'} no part in the choice: a single seed may be a lucky one."
        )
    horizons = {(result.step, result.values.get("trainer.schedule_steps")) for result in grid.finished}
    if len({step for step, _ in horizons}) > 1 and len({horizon for _, horizon in horizons}) > 1:
        lines.append("Each step count is a run of its own, none the start of another: their schedules end elsewhere.")
    if left := sum(not result.finished for _, result in grid.results()):
        lines.append(f"{left} {'jobs are' if left > 1 else 'job is'} not finished; this may change.")
    return lines


def _best(grid: Grid, compared: Comparison) -> str:
    criterion, best = compared.criterion, compared.best
    found = compared.to_base[compared.choice.best]
    by_seed = compared.by_seed(best)
    seeds = f"mean of {len(by_seed)} seeds, " if len(by_seed) > 1 else ""
    return (
        f"{criterion.best}: {criterion.show(found.final)}{criterion.show_spread(by_seed)} "
        f"({criterion.show_change(found)} to the base model), {seeds}{grid.label(best)}"
    )


def next_commands(report: Report, runs_dir: Path) -> Iterator[str]:
    """Yield what to type after a sweep: the best cell drawn with and looked at, whatever its seed."""
    if not report.main:
        return
    best = report.main.best
    names = [result.name for result in best.finished]
    where = [] if runs_dir == Path("runs") else [f"runs_dir={runs_dir}"]
    seeds = " (any of its seeds will do)" if len(names) > 1 else ""
    chosen = f"runs=[{','.join(names)}]" if len(names) > 1 else f"run={names[0]}"
    yield f"to draw with {report.grid.label(best)}{seeds}:"
    yield f"  {shlex.join(['emote', 'generate', f'run={names[0]}', _example(best), *where])}"
    yield "to see whether its images are recognised, and in style:"
    yield f"  {shlex.join(['emote', 'evaluate', chosen, *where])}"


def _example(cell: Cell) -> str:
    prompts = cell.finished[0].values.get("callbacks.samples.prompts") or ["a fairy"]
    return f"prompts=[{prompts[0]}]"
