"""Figures for notebooks: images and maps in a grid, curves, similarities. Each is returned, none is global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from emote.util.charts import BLUE as BLUE
from emote.util.charts import INK, new_figure
from emote.util.charts import RED as RED

PALE, GREY = "#6e7781", "#c9d5e8"
DPI = 80  # of all figures: readable, and a notebook full of them stays small


def grid(
    rows: Sequence[Sequence[Image.Image | torch.Tensor]],
    *,
    columns: Sequence[str] = (),
    names: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
    title: str = "",
    cell_inches: float = 1.35,
) -> Any:
    """Images, and maps [H, W], in rows. columns: titles above; names: beside the rows; below: under each cell.

    A row's maps share one scale of colours, from blue over white for zero to red.
    """
    wide, tall = max(len(row) for row in rows), len(rows)
    height = tall * (cell_inches + (0.2 if below else 0)) + 0.35 * bool(columns) + 0.35 * bool(title)
    figure = new_figure(wide * cell_inches + 1.2 * bool(names), height, DPI)
    axes = figure.subplots(tall, wide, squeeze=False)
    for y, row in enumerate(rows):
        maps = [cell for cell in row if isinstance(cell, torch.Tensor)]
        limit = max((float(cell.abs().max()) for cell in maps), default=0.0) or 1.0
        for x in range(wide):
            place = axes[y][x]
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set_visible(x < len(row))
            place.spines[:].set_color("#d8dee4")
            if x >= len(row):
                continue
            cell = row[x]
            if isinstance(cell, torch.Tensor):
                place.imshow(cell.cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            else:
                place.imshow(cell, interpolation="lanczos")
            if y == 0 and x < len(columns):
                place.set_title(columns[x], fontsize=9, color=INK)
            if below and x < len(below[y]):
                place.set_xlabel(below[y][x], fontsize=8, color=PALE)
        if names:
            axes[y][0].set_ylabel(names[y], rotation=0, ha="right", va="center", fontsize=9, color=INK)
    figure.suptitle(title, fontsize=11) if title else None
    return figure


def plots(count: int = 1, *, width: float = 4.6, height: float = 3.2) -> tuple[Any, list[Any]]:
    """(figure, axes side by side) to draw curves on."""
    figure = new_figure(width * count, height, DPI)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for place in axes:
        place.spines[["top", "right"]].set_visible(False)
        place.tick_params(labelsize=8)
    return figure, axes


def similarities(values_NN: torch.Tensor, names: Sequence[str], title: str) -> Any:
    """How alike each is to each, with the numbers written in; brighter is more alike."""
    figure = new_figure(0.52 * len(names) + 2.2, 0.4 * len(names) + 1.3, DPI)
    place = figure.subplots()
    off_diagonal = values_NN[~torch.eye(len(names), dtype=torch.bool)]
    low, high = float(off_diagonal.min()), float(off_diagonal.max())
    place.imshow(values_NN.cpu().numpy(), cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for y, row in enumerate(values_NN.tolist()):
        for x, value in enumerate(row):
            bright = value > (low + high) / 2
            place.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=INK if bright else "white")
    place.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    place.set_yticks(range(len(names)), names, fontsize=8)
    place.set_title(title, fontsize=10)
    return figure


def heat_over(image: Image.Image, map_HW: torch.Tensor) -> Image.Image:
    """The image in grey under a map: dark where the map is lowest, bright where it is highest."""
    import matplotlib

    side = image.size
    low, high = float(map_HW.min()), float(map_HW.max())
    share = ((map_HW - low) / (high - low or 1.0)).cpu().numpy()
    colours = matplotlib.colormaps["inferno"](share, bytes=True)[..., :3]
    heat = Image.fromarray(colours).resize(side, Image.Resampling.BICUBIC)
    return Image.blend(image.convert("L").convert("RGB"), heat, 0.65)
