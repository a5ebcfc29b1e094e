"""The answer as a page, as Markdown, and in a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from emote.sweeps.reports.answer import NOTHING_HELD_OUT, Report, answer, read_report
from emote.sweeps.reports.criteria import LOSS
from emote.sweeps.reports.document import Document, Section
from emote.sweeps.reports.markdown_report import write_markdown
from emote.sweeps.reports.page import as_page
from emote.sweeps.reports.sections import heat_map, sections_of, summary_of
from emote.util.console import echo
from emote.util.files import write_text
from emote.util.markdown import table

PAGE, IMAGES = "report.html", "report"  # the folder of what report.md shows


def write_report(
    said: Sequence[Path | str],
    output: Path,
    runs_dir: Path = Path("runs"),
    sections: Sequence[Section] = (),
    best: str = LOSS.key,
) -> Report:
    """Write report.html, and report.md with its images in report/, to a directory.

    sections: to be added. best: as for `read_report`, which raises ConfigError.
    """
    report = read_report(said, runs_dir, best)
    document = as_document(report, output)
    document.sections.extend(sections)
    shutil.rmtree(output / IMAGES, ignore_errors=True)  # of an earlier one with other prompts
    write_markdown(document, output / "report.md", IMAGES)
    write_text(output / PAGE, as_page(document))
    return report


def as_document(report: Report, output: Path) -> Document:
    """output: where it will lie, for the paths in it."""
    title = f"Sweep {report.title}" if report.command else f"Report on {report.title}"
    return Document(title, summary_of(report), list(sections_of(report, output)))


def short(report: Report) -> list[str]:
    """Return the report in a few lines, for the terminal."""
    if not report.grid.finished:
        return ["no job has finished yet"]
    if not report.main:
        return [NOTHING_HELD_OUT]
    found = heat_map(report.grid, report.main)
    return [*table(found.head, found.rows), "", *answer(report)]


def print_report(report: Report) -> None:
    echo("\n" + "\n".join(short(report)))
