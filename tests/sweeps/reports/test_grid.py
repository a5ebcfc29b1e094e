"""Runs in rows, called by what sets them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from emote.sweeps.reports.drawing import Bar, Line, draw_curves
from emote.sweeps.reports.grid import arrange
from emote.sweeps.reports.results import Result
from emote.util.charts import COLOURS


def result(run: str, step: int, state: str = "finished", **values: Any) -> Result:
    told = {key.replace("__", "."): value for key, value in values.items()}
    return Result(Path(run), step, state, told)


def test_keys_that_follow_another_are_not_in_the_labels_but_in_the_differences() -> None:
    grid = arrange(
        [
            result("b", 20, lora__rank=16, lora__alpha=16.0, trainer__learning_rate=1e-4, run__dir="x"),
            result("a", 20, lora__rank=4, lora__alpha=4.0, trainer__learning_rate=1e-4, run__dir="y"),
        ]
    )
    assert [row.label for row in grid.rows] == ["rank 4", "rank 16"]
    assert grid.keys == ["lora.rank", "lora.alpha"] and grid.distinct == ["lora.rank"]


def test_a_job_that_has_not_begun_has_its_place() -> None:
    common = {"trainer__learning_rate": 3e-4, "data__flip": False}
    grid = arrange(
        [
            result("a", 20, lora__rank=2, lora__alpha=2.0, **common),
            result("a", 40, "waiting", lora__rank=2, lora__alpha=2.0),
            result("b", 20, "failed", lora__rank=4, lora__alpha=4.0),
        ]
    )
    assert [row.label for row in grid.rows] == ["rank 2", "rank 4"] and grid.steps == [20, 40]
    assert grid.keys == ["lora.rank", "lora.alpha"]
    assert [r.state if (r := grid.cell(row, 40)) else None for row in grid.rows] == ["waiting", None]


def test_two_keys_make_a_label_of_both_and_equal_labels_are_told_apart() -> None:
    rows = [result(f"{r}{lr}", 20, lora__rank=r, trainer__learning_rate=lr) for r in (2, 4) for lr in (1e-3, 1e-4)]
    assert [row.label for row in arrange(rows).rows] == [
        "rank 2, learning rate 0.0001", "rank 2, learning rate 0.001",
        "rank 4, learning rate 0.0001", "rank 4, learning rate 0.001",
    ]  # fmt: skip
    same = arrange([result("tiny-1", 20, lora__rank=2), result("tiny-2", 20, lora__rank=2)])  # other images
    assert [row.label for row in same.rows] == ["tiny-1", "tiny-2"]


def test_every_line_is_drawn_with_its_points_and_named() -> None:
    lines = [Line(f"rank {n}", [(0, 0), (100, -0.001 * n)], [Bar(100, -0.001 * n, (-0.01, 0))]) for n in range(12)]
    svg = draw_curves(lines, "steps", "loss")
    words = [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text")]
    assert {"steps", "loss", *(line.label for line in lines)} <= set(words)
    for colour in COLOURS:  # a curve, a bar, and the line in the legend
        assert svg.count(f"stroke: {colour}; ") >= 3
    assert svg == draw_curves(lines, "steps", "loss")
    bare = draw_curves([Line("one", [], [Bar(10, 0.1, None)])], "x", "y")
    assert "one" in bare and svg.count("<use") > bare.count("<use")
    assert draw_curves([], "x", "y") == ""
    assert "nan" not in draw_curves([Line("nothing learned", [(0, 0), (10, 0)], [Bar(10, 0, (0, 0))])], "x", "y")
