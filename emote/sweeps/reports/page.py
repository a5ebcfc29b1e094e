"""A report as one HTML page that needs nothing else: images within, no scripts, light and dark, wide and narrow."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

from PIL import Image

from emote.sweeps.reports.document import Block, Code, Document, Drawing, Sheet, Table, Text

STYLE = Path(__file__).with_name("style.css")
MOST_COLUMNS = {"long": 4, "dense": 9, "list": 14}  # of a table on a phone, of one in usual letters, of any
OPEN_SHEETS = 2  # the others are a click away
LARGEST_PX = 256  # a side; larger images are shown smaller, and lie in their run's directory as they were drawn


def as_page(document: Document) -> str:
    body = [f"<h1>{_inline(document.title)}</h1>", *_blocks(document.summary)]
    for section in document.sections:
        body += ["<section>", f"<h2>{_inline(section.title)}</h2>", *_blocks(section.blocks), "</section>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(document.title)}</title>\n<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        "<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _blocks(blocks: list[Block]) -> Iterator[str]:
    sheets = 0
    for block in blocks:
        if isinstance(block, Text):
            yield f"<p>{_inline(block.text)}</p>"
        elif isinstance(block, Code):
            yield f"<pre>{escape(block.text)}</pre>"
        elif isinstance(block, Table):
            yield _table(block)
        elif isinstance(block, Drawing):
            yield from _drawing(block)
        else:
            sheets += 1
            yield _sheet(block, sheets <= OPEN_SHEETS)


def _drawing(drawing: Drawing) -> Iterator[str]:
    if drawing.narrow:
        yield f'<figure class="at-wide">{drawing.svg}</figure><figure class="at-narrow">{drawing.narrow}</figure>'
    else:
        yield f"<figure>{drawing.svg}</figure>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(table: Table) -> str:
    """Where a table of many columns does not fit it is a list: each cell then says what its column is called."""
    head = "".join(f"<th>{_inline(text)}</th>" for text in table.head)
    rows = []
    for number, row in enumerate(table.rows):
        shades = table.shades[number] if table.shades else [None] * len(row)
        cells = []
        for name, text, shade in zip(table.head, row, shades, strict=True):
            style = "" if shade is None else f' class="heat" style="--shade:{shade * 100:.0f}%"'
            cells.append(f'<td{style} data-name="{escape(_plain(name))}">{_inline(text)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    kinds = [name for name, most in MOST_COLUMNS.items() if len(table.head) > most]
    return (
        f'<table class="{" ".join(kinds)}"><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table>"
    )


def _plain(text: str) -> str:
    return text.replace("`", "")


def _sheet(sheet: Sheet, is_open: bool) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in sheet.columns)
    rows = []
    for label, files in sheet.rows:
        cells = (
            f'<td data-name="{escape(column)}"><img src="{_image(file)}" alt="{escape(f"{label}, {column}")}"></td>'
            if file
            else f'<td class="empty" data-name="{escape(column)}"></td>'
            for column, file in zip(sheet.columns, files, strict=True)
        )
        rows.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(sheet.title)}</summary>"
        f'<table class="sheet" style="--columns:{len(sheet.columns)}"><thead><tr><th></th>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></details>"
    )


@cache
def _image(file: Path) -> str:
    """A data URI: without the text that a PNG carries, and of a size that a page can hold many of."""
    with Image.open(file) as opened:
        image = opened.convert("RGBA" if opened.mode == "RGBA" else "RGB")
    out = io.BytesIO()
    if max(image.size) <= LARGEST_PX // 2:
        kind = "png"
        image.save(out, format="PNG", optimize=True)
    else:
        kind = "webp"
        image.thumbnail((LARGEST_PX, LARGEST_PX), Image.Resampling.LANCZOS)
        image.save(out, format="WEBP", quality=88, method=6)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
