"""What each step of an ablation gave, as an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emote.evaluation.crossed import CrossedResult
from emote.util.charts import BLUE, GREY, RED, new_figure, save_png


def plot_effects(
    path: Path,
    names: Sequence[str],
    to_first: Sequence[CrossedResult | None],
    to_last: Sequence[CrossedResult | None],
    title: str,
) -> None:
    """Differences of the held-out loss, one row a step: to the first step, and to the step before.

    A point with its 95 % interval (thin: other images and other seeds; thick: other images, these seeds), and below
    it a small circle for each seed. None where there is nothing to compare with.
    """
    figure = new_figure(9, 1.4 + 0.5 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, results, what in ((left, to_first, f"to “{names[0]}”"), (right, to_last, "to the step before")):
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        for row, result in enumerate(results):
            if result is None:
                axes.plot([0], [row], marker="o", markersize=5, color=GREY)
                continue
            low, high = result.interval_95 or (result.difference, result.difference)
            colour = BLUE if high < 0 else RED if low > 0 else GREY
            axes.plot([low, high], [row, row], color=colour, linewidth=1)
            if result.interval_95_these_seeds:
                axes.plot(result.interval_95_these_seeds, [row, row], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot(result.by_seed, [row + 0.25] * len(result.by_seed), "o", color=colour, markersize=3, mfc="white")
            axes.plot([result.difference], [row], "o", color=colour, markersize=5)
        axes.set_title(f"difference {what}", fontsize=10)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.ticklabel_format(axis="x", style="plain")
        axes.locator_params(axis="x", nbins=5)
    left.set_yticks(range(len(names)), [name if row == 0 else f"+ {name}" for row, name in enumerate(names)])
    left.set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(
        "held-out loss, lower is better; point: mean; line: 95 % interval (thick: for these seeds); circles: each seed",
        fontsize=9,
        color=GREY,
    )
    save_png(figure, path)
