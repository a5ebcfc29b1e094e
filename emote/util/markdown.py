"""Tables and numbers as Markdown has them, and reports that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emote.util.console import echo
from emote.util.files import write_json, write_text, write_with


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, its columns aligned for those who read it as text."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]]


def signed(value: float) -> str:
    return f"{value:+.6f}".replace("-", "−") if value else "0"


def percent(value: float) -> str:
    return f"{value:+.2%}".replace("-", "−")


def interval(ends: Sequence[float] | None) -> str:
    return f"{signed(ends[0])} to {signed(ends[1])}" if ends else "–"


def write_report(
    directory: Path, name: str, text: str, facts: object, images: Mapping[str, Callable[[Path], None]]
) -> Path:
    """Write <name>.json, the images and <name>.md, print the last and its path, and return the path.

    facts: for JSON. images: what writes each, by its file's name.
    """
    write_json(directory / f"{name}.json", facts)
    for file, write in images.items():
        write_with(directory / file, write)
    report = directory / f"{name}.md"
    write_text(report, text)
    echo("\n" + text)
    echo(str(report))
    return report
