"""A report as Markdown, with its pictures beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emote.sweeps.reports.document import Block, Code, Document, Drawing, Sheet, Table, Text
from emote.sweeps.reports.sheet import draw_sheet
from emote.util.files import write_text, write_with
from emote.util.markdown import table


def write_markdown(document: Document, path: Path, pictures: str) -> None:
    """pictures: the folder beside `path` where drawings and sheets go."""
    blocks = [*document.summary, *(block for section in document.sections for block in section.blocks)]
    for block in blocks:
        if isinstance(block, Drawing):
            write_text(path.parent / pictures / block.file, block.svg)
        elif isinstance(block, Sheet):
            drawn = draw_sheet(block)
            write_with(path.parent / pictures / block.file, lambda file, it=drawn: it.save(file, format="PNG"))  # type: ignore[misc]
    write_text(path, as_markdown(document, pictures))


def as_markdown(document: Document, pictures: str) -> str:
    lines = [f"# {document.title}\n", *_lines(document.summary, pictures)]
    for section in document.sections:
        lines += [f"## {section.title}\n", *_lines(section.blocks, pictures)]
    return "\n".join(lines)


def _lines(blocks: list[Block], pictures: str) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Text):
            yield f"{block.text}\n"
        elif isinstance(block, Code):
            yield f"```\n{block.text}\n```\n"
        elif isinstance(block, Table):
            yield "\n".join(table(block.head, block.rows)) + "\n"
        elif isinstance(block, Drawing):
            yield f"![{block.about}]({pictures}/{block.file})\n"
        else:
            yield f"![{block.title}]({pictures}/{block.file})\n"
