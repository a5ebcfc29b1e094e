"""A table whose cells are shaded, as an image: for where neither a page nor Markdown is shown."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from emote.imaging.sheet import GAP, INK, PALE, PAPER
from emote.sweeps.reports.document import Table

ROW, PAD, SIZE = 52, 18, 20  # px
HEAT = "#1f5fbf"  # as on the page, of which a cell has at most a half


def draw_heat_map(table: Table) -> Image.Image:
    face = _font()
    cells = [list(table.head), *(list(row) for row in table.rows)]
    shades = [[None] * len(table.head), *(table.shades or [[None] * len(row) for row in table.rows])]
    widths = [round(max(face.getlength(row[column]) for row in cells)) + 2 * PAD for column in range(len(table.head))]
    image = Image.new("RGB", (sum(widths) + 2 * GAP, len(cells) * ROW + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(cells):
        left, top = GAP, GAP + number * ROW
        for text, shade, width in zip(row, shades[number], widths, strict=True):
            if shade is not None:
                draw.rectangle((left, top, left + width - 3, top + ROW - 3), _tint(shade / 2))
            draw.text((left + PAD, top + ROW / 2), text, INK if number else PALE, face, anchor="lm")
            left += width
    return image


def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's, which knows ★, ◆ and −; Pillow's own does not."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), SIZE)


def _tint(share: float) -> tuple[int, ...]:
    paper, heat = ImageColor.getrgb(PAPER), ImageColor.getrgb(HEAT)
    return tuple(round(a + (b - a) * share) for a, b in zip(paper, heat, strict=True))
