"""Figures by matplotlib: as a PNG, or as an SVG in the colours of the reader's light or dark page."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Any

BLUE, RED, GREY = "#1f5fbf", "#c0392b", "#6e7781"
# of Okabe and Ito, which colour-blind readers tell apart, on white and on black
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8527f", "#8a6d00", "#777777", "#7b5bd8", "#c93a3a")
INK, PALE, GRID = "#1f2328", "#59636e", "#d1d9e0"  # on white
DARK = {INK: "#f0f6fc", PALE: "#9198a1", GRID: "#3d444d"}


def new_figure(width: float, height: float, dpi: int = 120) -> Any:
    """Return an empty figure of so many inches, whose parts make room for each other. Nothing global is touched."""
    from matplotlib.figure import Figure  # late: it takes half a second

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def save_png(figure: Any, path: Path | IO[bytes]) -> None:
    """Write a figure; the same figure gives the same bytes."""
    figure.savefig(path, format="png", metadata={"Software": None})


def as_svg(figure: Any) -> str:
    """Return a figure as SVG that stands within a page: the page's font, greys that turn where the page is dark."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "emote"}):
        _restyle(figure)
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = file.getvalue()
    svg = re.sub(
        r"font: ([^;\"]*?[\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg[svg.index("<svg") :].strip()
    )
    turned = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    return svg.replace(">", f"><style>@media(prefers-color-scheme:dark){{{turned}}}</style>", 1)


def _restyle(figure: Any) -> None:
    from matplotlib.text import Text
    from matplotlib.ticker import ScalarFormatter

    for text in figure.findobj(Text):
        text.set(color=PALE, fontsize=8)
    titles = [axes.title for axes in figure.axes] + ([figure._suptitle] if figure._suptitle else [])
    for title in titles:
        title.set(color=INK, fontsize=9.5, fontweight="bold")
    for axes in figure.axes:
        axes.set_axisbelow(True)
        axes.tick_params(colors=PALE, labelsize=8)
        for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
            line.set(color=GRID, linewidth=0.7)
        for spine in axes.spines.values():
            spine.set_color(GRID)
        if isinstance(axes.yaxis.get_major_formatter(), ScalarFormatter):
            axes.ticklabel_format(axis="y", useOffset=False)
    for legend in [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]:
        legend.set_frame_on(False)
