"""A table whose cells are shaded, as an image: for where neither a page nor Markdown is shown."""

from __future__ import annotations

import io

from PIL import Image

from emote.sweeps.reports.document import Table
from emote.util.charts import BLUE, INK, PALE, new_figure, save_png


def draw_heat_map(table: Table) -> Image.Image:
    figure = new_figure(2.2 * len(table.head), 0.4 * (len(table.rows) + 1))
    axes = figure.subplots()
    axes.axis("off")
    shades = table.shades or [[None] * len(row) for row in table.rows]
    colours = [[(BLUE, (shade or 0) / 2) for shade in row] for row in shades]  # half of it, so that words are read
    cells = axes.table(list(table.rows), colours, colLabels=list(table.head), bbox=(0, 0, 1, 1), cellLoc="left")
    for (row, _), cell in cells.get_celld().items():
        cell.set_linewidth(0)
        cell.get_text().set(color=INK if row else PALE)
    file = io.BytesIO()
    save_png(figure, file)
    return Image.open(file)
