"""Write what the judge can see, as docs/evaluation/judge.md and transformations.md."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from emote.evaluation.images.jackknife import Estimate
from emote.evaluation.images.measures import MEASURES
from emote.tools.judge_eval.calibration import Calibration, Power, Separation
from emote.tools.judge_eval.transformations import NONE, SIGNS, STRENGTHS, Cell
from emote.util.files import write_text
from emote.util.markdown import table

SURPRISES = SIGNS.with_name("surprises.csv")


def expected_surprises(path: Path = SURPRISES) -> dict[tuple[str, str], tuple[str, str]]:
    """(transformation, measure) to (the sign that was found instead, why): what was wrong in the expectation."""
    with open(path, newline="", encoding="utf-8") as lines:
        return {(r["transformation"], r["measure"]): (r["found"], r["why"]) for r in csv.DictReader(lines)}


def write_judge(
    path: Path, judge: str, calibrations: Sequence[Calibration], separations: Sequence[Separation],
    powers: Sequence[Power], about: str,
) -> None:  # fmt: skip
    rows = [
        [found.style, *(_percent(figure) for pair in found.figures.values() for figure in pair)]
        for found in calibrations
    ]
    head = ["style", "top 1", "top 5", "top 1, 32 px", "top 5, 32 px", "top 1, 20 px", "top 5, 20 px"]
    confused = [
        [found.style, ", ".join(f"{one} / {other} ({count})" for one, other, count in found.confused)]
        for found in calibrations
    ]
    apart = [
        [" and ".join(pair.styles), str(pair.images), *(_number(figure) for figure in pair.distances.values()),
         "yes" if pair.is_told_apart else "no"]
        for pair in separations
    ]  # fmt: skip
    power = [[str(p.images), f"±{p.recognised * 100:.0f} %", f"±{p.style_share * 100:.0f} %"] for p in powers]
    lines = [
        f"# What the judge `{judge}` can see\n", f"{about}\n",
        "## Real drawings that it recognises\n",
        "Image to name among all concepts of the set, one drawing each; 95 % intervals over concepts.\n",
        *table(head, rows), "", "Most confused:\n", *table(["style", "pairs"], confused), "",
        "## Styles that are told apart\n",
        "Unbiased MMD² between two real sets, the same concepts of each (a concept's own pair left out), with 95 % "
        "intervals.\n",
        *table(["styles", "images of each", "RBF", "polynomial", "told apart"], apart), "",
        "## How many images it takes\n",
        "Half-width of the 95 % interval: of recognised within five, and of the distance to the real style as a share "
        "of that between two real styles (OpenMoji and Twemoji). A paired difference to the base needs fewer.\n",
        *table(["images", "recognised within five", "style distance"], power), "",
    ]  # fmt: skip
    write_text(path, "\n".join(lines))


def write_transformations(path: Path, cells: Sequence[Cell], about: str) -> None:
    measures = list(dict.fromkeys(cell.measure for cell in cells))
    known = expected_surprises()
    rows = []
    for name in dict.fromkeys(cell.transformation for cell in cells):
        own = {cell.measure: cell for cell in cells if cell.transformation == name}
        rows.append([name, *(_shown(own[measure]) for measure in measures)])
    surprises = [
        [cell.transformation, MEASURES[cell.measure].title, cell.expected, cell.sign,
         known.get((cell.transformation, cell.measure), ("", "unexplained"))[1]]
        for cell in cells if not cell.as_expected
    ]  # fmt: skip
    lines = [
        "# Known transformations\n", f"{about}\n",
        *table(["", *(MEASURES[measure].title for measure in measures)], rows), "",
        f"Changes at full strength with the half-width of their 95 % intervals (strengths {STRENGTHS}); the sign that "
        "was expected stands first, in bold where another one was found.\n",
        "## Where the expectation was wrong\n",
        *table(["", "measure", "expected", "found", "why"], surprises), "",
    ]  # fmt: skip
    write_text(path, "\n".join(lines))


def _shown(cell: Cell) -> str:
    sign = {"-": "−", NONE: "0"}.get(cell.expected, cell.expected)
    last = cell.changes[-1]
    return f"{sign if cell.as_expected else f'**{sign}**'} {last.value:+.2g} ± {last.half_width:.1g}"


def _percent(estimate: Estimate) -> str:
    ends = estimate.interval_95
    return f"{estimate.value:.0%}" + (f" ({ends[0]:.0%} to {ends[1]:.0%})" if ends else "")


def _number(estimate: Estimate) -> str:
    ends = estimate.interval_95
    return f"{estimate.value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")
