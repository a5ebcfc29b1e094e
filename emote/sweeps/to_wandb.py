"""A sweep's answer on Weights & Biases: one more run beside those of its group, with the table, images and page."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from emote.config import LoggerConfig
from emote.evaluation.paired import compare
from emote.sweeps.plan import Plan
from emote.sweeps.reports.answer import Report, answer
from emote.sweeps.reports.criteria import CRITERIA, LOSS
from emote.sweeps.reports.heat_map import draw_heat_map
from emote.sweeps.reports.report import IMAGES, PAGE, short
from emote.sweeps.reports.results import Scores
from emote.sweeps.reports.sections import heat_map, sheets_of
from emote.training.loggers.wandb import close_run, is_disabled, open_run
from emote.util.console import echo
from emote.util.files import write_text

NAME = "report"
LARGEST_BYTES = 32 * 2**20  # of a page that is sent along


def log_report(report: Report, plan: Plan) -> None:
    """Does nothing where no job is logged, or where all this was logged before. What goes wrong is told in one line:
    no sweep fails for its log."""
    wanted = [job.config.logger for job in plan.jobs if "wandb" in job.config.logger.to]
    if not wanted or is_disabled():
        return
    content = hashlib.sha256((plan.directory / PAGE).read_bytes()).hexdigest()
    logged = plan.directory / "wandb" / "report.sha256"
    if logged.exists() and logged.read_text(encoding="utf-8") == content:
        return
    try:
        _log(report, plan, replace(wanted[0], group=plan.directory.name))
        write_text(logged, content)
    except Exception as error:
        echo(f"W&B: the report was not logged: {' '.join(str(error).split())[:160] or type(error).__name__}")


def _log(report: Report, plan: Plan, config: LoggerConfig) -> None:
    told = {"command": report.command, "runs": len(plan.runs), "jobs": len(plan.jobs)}
    notes = "\n".join(answer(report) if report.main else short(report))
    # the identity is the sweep's, so that an answer that changed takes the place of the one before
    run = open_run(
        config, plan.directory, f"{NAME}-{plan.identity}", name=NAME, job_type=NAME, notes=notes, config={"sweep": told}
    )
    try:
        run.log({f"{NAME}/{name}": shown for name, shown in _shown(report, plan.directory).items()})
    finally:
        close_run(run, plan.directory)


def _shown(report: Report, directory: Path) -> dict[str, Any]:
    import wandb

    shown: dict[str, Any] = {"table": wandb.Table(*_table(report))}
    for key, compared in report.compared.items():
        name = "heat_map" if key == LOSS.key else f"heat_map_{key}"
        image = draw_heat_map(heat_map(report.grid, compared))
        shown[name] = wandb.Image(image, caption=compared.criterion.title.lower())
    drawn = [(sheet.title, directory / IMAGES / sheet.file) for sheet in sheets_of(report.grid)]
    if drawn:
        shown["sheets"] = [wandb.Image(str(file), caption=title) for title, file in drawn]
    page = directory / PAGE
    if page.stat().st_size <= LARGEST_BYTES:
        shown["page"] = wandb.Html(str(page), inject=False)
    return shown


def _table(report: Report) -> tuple[list[str], list[list[Any]]]:
    """A row for each job, its numbers as numbers: W&B sorts, filters and plots by them."""
    rows: list[dict[str, Any]] = []
    for row, result in report.grid.results():
        scores = result.held_out
        found = compare(scores.base, scores.final, scores.concepts) if scores else None
        low, high = (found and found.interval_95) or (None, None)
        summary = result.summary if result.finished else {}
        memory = summary.get("peak_memory_bytes", {})
        rows.append(
            {
                "run": report.grid.run_label(row, result.run),
                **{key: row.values.get(key) for key in report.grid.distinct},
                "steps": result.step,
                "state": result.state,
                "held-out loss": found and found.final,
                **{key: _share(CRITERIA[key].read(result)) for key in report.compared if key != LOSS.key},
                "difference to base": found and found.difference,
                "95 % from": low,
                "95 % to": high,
                "seconds": result.training_seconds if result.finished else None,
                "seconds per step": summary.get("seconds_per_step"),
                "peak memory bytes": memory.get("device") or memory.get("host"),
                "adapter bytes": result.adapter_bytes if result.finished else None,
                "directory": result.name.rpartition("/")[0] if result.rank is None else result.name,
            }
        )
    columns = [_of_one_kind([told[name] for told in rows]) for name in rows[0]]
    return list(rows[0]), [list(cells) for cells in zip(*columns, strict=True)]


def _share(scores: Scores | None) -> float | None:
    return fmean(scores.final) if scores else None


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """W&B's tables take no numbers beside words in a column."""
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return list(values)
    return [str(value) for value in values]
