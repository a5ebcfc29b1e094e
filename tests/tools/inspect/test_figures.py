"""Figures show what they are given, named."""

from __future__ import annotations

import torch
from PIL import Image

from emote.tools.inspect.figures import grid, heat_over, plots, similarities


def test_a_grid_has_every_image_with_its_words() -> None:
    red = Image.new("RGB", (8, 8), "red")
    figure = grid(
        [[red, red, red], [torch.zeros(4, 4)]],
        columns=["one", "two", "three"], names=["images", "map"], below=[["a", "b", "c"], ["d"]], title="all",
    )  # fmt: skip
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 4
    assert [axes.get_title() for axes in shown] == ["one", "two", "three", ""]
    assert [axes.get_xlabel() for axes in shown] == ["a", "b", "c", "d"]
    assert [axes.get_ylabel() for axes in shown] == ["images", "", "", "map"]
    assert figure.get_suptitle() == "all"


def test_the_maps_of_a_row_share_one_scale_with_zero_in_its_middle() -> None:
    figure = grid([[torch.full((2, 2), -3.0), torch.full((2, 2), 1.0)], [torch.full((2, 2), 0.5)]])
    limits = [axes.images[0].get_clim() for axes in figure.axes if axes.images]
    assert limits == [(-3, 3), (-3, 3), (-0.5, 0.5)]


def test_similarities_are_written_into_their_cells() -> None:
    figure = similarities(torch.tensor([[1.0, 0.25], [0.25, 1.0]]), ["cat", "dog"], "alike")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]


def test_heat_is_brightest_where_the_map_is_highest() -> None:
    map_HW = torch.tensor([[0.0, 0.0], [0.0, 7.0]])
    heat = heat_over(Image.new("RGB", (16, 16), "white"), map_HW).convert("L")
    assert heat.size == (16, 16)
    brightest = max((heat.getpixel((x, y)), (x, y)) for x in range(16) for y in range(16))
    assert brightest[1] == (15, 15)
    flat = heat_over(Image.new("RGB", (16, 16), "white"), torch.ones(2, 2))  # nothing to divide by
    assert all(low == high for low, high in flat.getextrema())


def test_curves_get_axes_side_by_side() -> None:
    figure, axes = plots(3)
    assert len(axes) == len(figure.axes) == 3
