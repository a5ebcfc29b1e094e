"""The tables of the recipes' comparison, as Markdown, JSON and an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.experiments.comparison.recipes import BASELINE, Measured, SetResult
from emote.util.charts import BLUE, GREY, RED, new_figure, save_png
from emote.util.markdown import interval, signed, table, write_report

ABOUT = (
    "Held-out loss, lower is better, of every adapter on one base in float32. Differences are to the recipe, paired by "
    "seed and image; intervals are about other concepts and other seeds. *p* is corrected for the number of rows "
    "(Holm), *shown* is below 0.05, *time* is that of a step beside the recipe's. The same images are held out for "
    "every set size."
)


@dataclass(frozen=True)
class RecipesReport:
    """changes: of each row, what it sets."""

    command: str
    changes: Mapping[str, str]
    results: Sequence[SetResult]

    def write(self, directory: Path) -> Path:
        """Write recipes.md, recipes.json and recipes.png, print the first and return its path."""
        text = "\n".join(self._markdown())
        return write_report(directory, "recipes", text, self.as_dict(), {"recipes.png": self._draw})

    def as_dict(self) -> dict[str, Any]:
        return {"command": self.command, "rows": dict(self.changes), "sets": [_as_dict(each) for each in self.results]}

    def _markdown(self) -> Iterator[str]:
        yield f"`{self.command}`\n"
        yield f"{ABOUT}\n"
        for result in self.results:
            seeds = ", ".join(map(str, result.seeds))
            yield f"## {result.name} ({result.stage}; seeds {seeds})\n"
            loss, seconds = result.recipe
            rows = [
                ["base model", "", f"{result.base:.5f}", *[""] * 5],
                [BASELINE, "", f"{loss:.5f}", *[""] * 4, "1.00"],
            ]
            for measured in sorted(result.rows, key=lambda each: each.difference.value):
                rows.append(_row(measured, self.changes[measured.row], seconds))
            yield from table(["row", "sets", "loss", "difference", "95 %", "p", "shown", "time"], rows)
            yield f"\n{result.images} images of {result.concepts} concepts were held out.\n"
        yield "![differences to the recipe](recipes.png)\n"

    def _draw(self, path: Path) -> None:
        figure = new_figure(9, 0.6 + sum(0.3 * len(result.rows) + 0.7 for result in self.results))
        heights = [len(result.rows) + 1 for result in self.results]
        axes_of = figure.subplots(len(self.results), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, result in zip(axes_of, self.results, strict=True):
            rows = sorted(result.rows, key=lambda each: each.difference.value)
            axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
            for place, measured in enumerate(rows):
                low, high = measured.difference.interval_95 or (measured.difference.value,) * 2
                colour = (BLUE if measured.helps else RED) if measured.is_shown else GREY
                axes.plot([low, high], [place, place], color=colour, linewidth=1)
                axes.plot([measured.difference.value], [place], "o", color=colour, markersize=5)
            axes.set_yticks(range(len(rows)), [each.row for each in rows], fontsize=8)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_title(f"{result.name} ({result.stage})", fontsize=10)
            axes.spines[["top", "right", "left"]].set_visible(False)
        figure.supxlabel(
            "difference of the held-out loss to the recipe, with its 95 % interval; blue: shown to help", fontsize=9
        )
        save_png(figure, path)


def _as_dict(result: SetResult) -> dict[str, Any]:
    return {
        "stage": result.stage, "set": result.name, "seeds": result.seeds, "base_loss": result.base,
        "recipe": {"loss": result.recipe[0], "seconds_per_step": result.recipe[1]},
        "images": result.images, "concepts": result.concepts,
        "rows": {
            each.row: {
                "loss": each.loss, "difference": each.difference.as_dict(), "p": each.difference.p_value,
                "corrected_p": each.corrected_p, "seconds_per_step": each.seconds_per_step,
            }
            for each in result.rows
        },
    }  # fmt: skip


def _row(measured: Measured, change: str, seconds: float) -> list[str]:
    found = measured.difference
    shown = ("lower" if found.value < 0 else "higher") if measured.is_shown else "nothing"
    time = f"{measured.seconds_per_step / seconds:.2f}"
    corrected = f"{measured.corrected_p:.3f}"
    return [measured.row, f"`{change}`", f"{measured.loss:.5f}", signed(found.value), interval(found.interval_95),
            corrected, shown, time]  # fmt: skip
