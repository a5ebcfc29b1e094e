"""A report as Markdown, with its images beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emote.sweeps.reports.document import Block, Code, Document, Drawing, Sheet, Table, Text
from emote.sweeps.reports.sheet import draw_sheet
from emote.util.files import write_text, write_with
from emote.util.markdown import table


def write_markdown(document: Document, path: Path, images: str) -> None:
    """images: the folder beside `path` where drawings and sheets go."""
    blocks = [*document.summary, *(block for section in document.sections for block in section.blocks)]
    for block in blocks:
        if isinstance(block, Drawing):
            write_text(path.parent / images / block.file, block.svg)
        elif isinstance(block, Sheet):
            drawn = draw_sheet(block)
            write_with(path.parent / images / block.file, lambda file, it=drawn: it.save(file, format="PNG"))  # type: ignore[misc]
    write_text(path, as_markdown(document, images))


def as_markdown(document: Document, images: str) -> str:
    lines = [f"# {document.title}\n", *_lines(document.summary, images)]
    for section in document.sections:
        lines += [f"## {section.title}\n", *_lines(section.blocks, images)]
    return "\n".join(lines)


def _lines(blocks: list[Block], images: str) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Text):
            yield f"{block.text}\n"
        elif isinstance(block, Code):
            yield f"```\n{block.text}\n```\n"
        elif isinstance(block, Table):
            yield "\n".join(table(block.head, block.rows)) + "\n"
        elif isinstance(block, Drawing):
            yield f"![{block.about}]({images}/{block.file})\n"
        else:
            yield f"![{block.title}]({images}/{block.file})\n"
