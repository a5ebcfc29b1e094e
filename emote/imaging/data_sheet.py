"""The contact sheet of a data set: what the model will see of it, with captions, and what is odd of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from emote.imaging.sheet import GAP, INK, PALE, PAPER, font, wrap

CELL_PX = 128
HEAD_PX = 40
WARNING = "#cf222e"
COLUMNS = 8


class Cell(NamedTuple):
    """mark: what is odd of the image; nothing where all is well."""

    image: Image.Image
    caption: str
    mark: str


def data_sheet(cells: Sequence[Cell], title: str) -> Image.Image:
    """RGB squares in a grid, each with its caption in two lines; a red frame and a word where something is odd."""
    columns = max(1, min(COLUMNS, len(cells)))
    tall = CELL_PX + 3 * 16 + 4
    width = max(GAP + columns * (CELL_PX + GAP), 480)
    sheet = Image.new("RGB", (width, HEAD_PX + -(-len(cells) // columns) * (tall + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), wrap(title, width - 2 * GAP, 15, 1)[0], INK, font(15))
    for n, cell in enumerate(cells):
        x, y = GAP + n % columns * (CELL_PX + GAP), HEAD_PX + n // columns * (tall + GAP)
        # sharp: what the model sees is looked at, not an impression of it
        sheet.paste(cell.image.resize((CELL_PX, CELL_PX), Image.Resampling.NEAREST), (x, y))
        edge = WARNING if cell.mark else "#d8dee4"
        draw.rectangle((x - 1, y - 1, x + CELL_PX, y + CELL_PX), outline=edge, width=2 if cell.mark else 1)
        line = y + CELL_PX + 3
        for text in wrap(cell.caption, CELL_PX, 12, 2):
            draw.text((x, line), text, PALE, font(12))
            line += 16
        if cell.mark:
            draw.text((x, line), wrap(cell.mark, CELL_PX, 12, 1)[0], WARNING, font(12))
    return sheet
