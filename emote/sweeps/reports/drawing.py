"""Curves with intervals as SVG: small, in the colours of the reader's light or dark page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 74, 150, 16, 46
LINE_PX = 17
Scale = Callable[[float], float]
# of Okabe and Ito, which colour-blind readers tell apart; each as it is seen on white and on black
COLOURS = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#f08a4b"), ("#009e73", "#35c79c"), ("#b8527f", "#e293b8"),
    ("#8a6d00", "#e5b800"), ("#555555", "#b5b5b5"), ("#5b3fa8", "#a793e8"), ("#a31515", "#ef7b7b"),
)  # fmt: skip


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


def draw_curves(lines: Sequence[Line], x_title: str, y_title: str) -> str:
    """Lines through points, and at some of these an interval; a dashed line at 0. "" where there is nothing to draw."""
    xs = [x for line in lines for x, _ in line.points] + [bar.x for line in lines for bar in line.bars]
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in lines for bar in line.bars for y in (bar.y, *(bar.ends or ()))]
    if not ys:
        return ""
    x_ticks, y_ticks = ticks(0, max(xs)), ticks(min(0.0, *ys), max(0.0, *ys))
    x0, x1, y0, y1 = 0.0, max(x_ticks[-1], *xs), y_ticks[0], y_ticks[-1]

    def px(x: float) -> float:
        return LEFT + (x - x0) / ((x1 - x0) or 1) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (y1 - y) / ((y1 - y0) or 1) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg class="curves" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} by {escape(x_title)}">{_style()}'
    ]
    for y in y_ticks:
        out.append(f'<path class="{"zero" if y == 0 else "grid"}" d="M{LEFT} {py(y):.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text class="tick" x="{LEFT - 8}" y="{py(y) + 4:.1f}" text-anchor="end">{_number(y)}</text>')
    for x in x_ticks:
        out.append(
            f'<text class="tick" x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(x)}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x_title)}</text>'
        f'<text class="tick" transform="translate(14 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_title)}</text>'
    )
    for number, line in enumerate(lines):
        out += _draw_line(line, number % len(COLOURS), len(lines), number, px, py)
    out += _draw_labels(lines, py)
    return "".join([*out, "</svg>"])


def _draw_line(line: Line, colour: int, count: int, number: int, px: Scale, py: Scale) -> list[str]:
    out = []
    if len(line.points) > 1:
        path = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in line.points)
        out.append(f'<path class="line c{colour}" d="M{path}"/>')
    for bar in line.bars:
        x = px(bar.x) + (number - (count - 1) / 2) * 4  # side by side, where several have the same step
        if bar.ends:
            out.append(f'<path class="bar c{colour}" d="M{x:.1f} {py(bar.ends[0]):.1f}V{py(bar.ends[1]):.1f}"/>')
        out.append(f'<circle class="dot c{colour}" cx="{x:.1f}" cy="{py(bar.y):.1f}" r="3.5"/>')
    return out


def _draw_labels(lines: Sequence[Line], py: Scale) -> list[str]:
    """Beside the ends of the lines, moved apart where they would cover each other."""
    ends = {
        number: py(line.points[-1][1] if line.points else line.bars[-1].y)
        for number, line in enumerate(lines)
        if line.points or line.bars
    }
    out, last = [], -math.inf
    highest = HEIGHT - BOTTOM - LINE_PX * (len(ends) - 1)
    for number, y in sorted(ends.items(), key=lambda item: item[1]):
        last = max(min(y, highest), last + LINE_PX)
        highest += LINE_PX
        shown = lines[number].label if len(lines[number].label) <= 20 else lines[number].label[:19] + "…"
        out.append(
            f'<text class="label f{number % len(COLOURS)}" x="{WIDTH - RIGHT + 14}" y="{last + 4:.1f}">'
            f"{escape(shown)}</text>"
        )
    return out


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at most `low` to at least `high`, evenly apart."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (step * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}".replace("-", "−")


def _style() -> str:
    light = "".join(f".c{i}{{stroke:{a}}}.f{i}{{fill:{a}}}" for i, (a, _) in enumerate(COLOURS))
    dark = "".join(f".c{i}{{stroke:{b}}}.f{i}{{fill:{b}}}" for i, (_, b) in enumerate(COLOURS))
    return (
        "<style>.curves{font:12px system-ui,sans-serif}.curves .line{fill:none;stroke-width:1.8}"
        ".curves .bar{stroke-width:1.4;opacity:.75}.curves .dot{stroke-width:1.8;fill:#fff}"
        ".curves .grid{stroke:#8884;stroke-width:1}.curves .zero{stroke:#888;stroke-width:1;stroke-dasharray:5 4}"
        f".curves .tick{{fill:#59636e}}.curves .label{{font-weight:600}}{light}"
        f"@media(prefers-color-scheme:dark){{.curves .tick{{fill:#9198a1}}.curves .dot{{fill:#0d1117}}{dark}}}</style>"
    )
