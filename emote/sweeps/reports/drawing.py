"""Curves with intervals, for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emote.util.charts import COLOURS, PALE, as_svg, new_figure

SHARE = 10  # below that an axis is of shares and not of steps


@dataclass(frozen=True)
class Bar:
    """A value with the ends of its interval, None for none."""

    x: float
    y: float
    ends: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    label: str
    points: Sequence[tuple[float, float]]
    bars: Sequence[Bar]


WIDE, NARROW = (8.5, 4.2), (3.6, 3.2)  # inches of the axes' share of a figure; a narrow one fills a phone's window
LONGEST_ASIDE, MOST_ASIDE = 26, 20  # letters and lines of a legend that stands beside its axes
LEGEND_LINE = 0.19  # inches


def draw_curves(lines: Sequence[Line], x_title: str, y_title: str, narrow: bool = False) -> str:
    """Lines through points, and at some of these an interval; a dashed line at 0. "" where there is nothing to draw.

    narrow: for a window of a phone's width, the legend below.
    """
    drawn = [line for line in lines if line.points or line.bars]
    if not drawn:
        return ""
    below = narrow or len(drawn) > MOST_ASIDE or max(len(line.label) for line in drawn) > LONGEST_ASIDE
    width, height = NARROW if narrow else WIDE
    columns = 1 if narrow else 2
    figure = new_figure(width, height + (below and LEGEND_LINE * -(-len(drawn) // columns)))
    axes = figure.subplots()
    axes.set(xlabel=x_title, ylabel=y_title)
    axes.grid()
    axes.axhline(0, color=PALE, linestyle="--", linewidth=1)
    widest = max(x for line in drawn for x, *_ in (*line.points, *((bar.x, 0) for bar in line.bars)))
    for number, line in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(*zip(*line.points, strict=True), color=colour) if line.points else None
        aside = (number - (len(drawn) - 1) / 2) * widest / 150  # side by side, where several have the same step
        for bar in line.bars:
            low, high = bar.ends or (bar.y, bar.y)
            axes.plot([bar.x + aside] * 2, [low, high], color=colour, linewidth=1.4)
            axes.plot([bar.x + aside], [bar.y], "o", color=colour, markersize=5)
        axes.plot([], [], "o-", color=colour, label=line.label)
    figure.legend(loc="outside lower left" if below else "outside right upper", ncols=columns if below else 1)
    axes.locator_params(axis="x", nbins=4 if narrow else 8)
    if widest > SHARE:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    return as_svg(figure)
