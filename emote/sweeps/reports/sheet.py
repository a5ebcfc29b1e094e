"""One prompt by every run at every step count, as one image."""

from __future__ import annotations

from PIL import Image, ImageDraw

from emote.imaging.sheet import GAP, INK, PALE, PAPER, enlarge, font, wrap
from emote.sweeps.reports.document import Sheet

CELL, LABEL, HEAD = 112, 120, 64
EMPTY = "#f0f1f2"


def draw_sheet(sheet: Sheet) -> Image.Image:
    """Draw rows and columns as the sheet has them; what is not there yet is grey."""
    width = GAP + LABEL + len(sheet.columns) * (CELL + 4) + GAP
    image = Image.new("RGB", (width, HEAD + len(sheet.rows) * (CELL + 4) + GAP), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 10), wrap(sheet.title, width - 2 * GAP, 15, 1)[0], INK, font(15))
    for column, name in enumerate(sheet.columns):
        draw.text((GAP + LABEL + column * (CELL + 4), HEAD - 22), wrap(name, CELL, 13, 1)[0], PALE, font(13))
    for row, (label, files) in enumerate(sheet.rows):
        top = HEAD + row * (CELL + 4)
        for number, line in enumerate(wrap(label, LABEL - 8, 13, 4)):
            draw.text((GAP, top + 4 + number * 17), line, INK, font(13))
        for column, file in enumerate(files):
            left = GAP + LABEL + column * (CELL + 4)
            if file is None:
                draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), EMPTY)
                continue
            with Image.open(file) as cell:
                image.paste(enlarge(cell, CELL), (left, top))
    return image
