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
    assert [[result.state for result in grid.cell(row, 40).results] for row in grid.rows] == [["waiting"], []]


def test_two_keys_make_a_label_of_both_and_equal_labels_are_told_apart() -> None:
    rows = [result(f"{r}{lr}", 20, lora__rank=r, trainer__learning_rate=lr) for r in (2, 4) for lr in (1e-3, 1e-4)]
    assert [row.label for row in arrange(rows).rows] == [
        "rank 2, learning rate 0.0001", "rank 2, learning rate 0.001",
        "rank 4, learning rate 0.0001", "rank 4, learning rate 0.001",
    ]  # fmt: skip
    same = arrange([result("tiny-1", 20, lora__rank=2), result("tiny-2", 20, lora__rank=2)])  # other images
    assert [row.label for row in same.rows] == ["tiny-1", "tiny-2"]


def test_runs_that_differ_by_their_seed_alone_are_one_row() -> None:
    results = [
        result(f"{rank}-{seed}", step, lora__rank=rank, lora__alpha=float(rank), seed=seed, lora__seed=seed)
        for rank in (4, 2)
        for seed in (3, 1, 2)
        for step in (20, 40)
    ]
    grid = arrange(results)
    assert [(row.label, list(row.runs.values())) for row in grid.rows] == [
        (f"rank {rank}", ["seed 1", "seed 2", "seed 3"]) for rank in (2, 4)
    ]
    assert grid.replicated and len(grid.cell(grid.rows[0], 20).results) == 3
    assert [grid.run_label(row, run) for row in grid.rows for run in row.runs][:2] == [
        "rank 2, seed 1",
        "rank 2, seed 2",
    ]
    alone = arrange([r for r in results if r.values["lora.rank"] == 2])
    assert [row.label for row in alone.rows] == ["2"]  # what the runs are called


def test_seeds_of_the_adapter_alone_and_names_that_say_the_seed_make_replicates_too() -> None:
    of_adapter = arrange([result(f"a-{n}", 20, seed=1, lora__seed=n, lora__rank=2) for n in (7, 8)])
    assert [list(row.runs.values()) for row in of_adapter.rows] == [["adapter seed 7", "adapter seed 8"]]
    named = arrange([result(f"s{n}-{n}", 20, seed=n, name=f"s{n}", lora__rank=2) for n in (7, 8)])
    assert [list(row.runs.values()) for row in named.rows] == [["seed 7", "seed 8"]]


def test_two_runs_of_one_seed_are_no_replicates_and_other_recipes_have_seeds_of_their_own() -> None:
    twice = arrange([result(f"tiny-{n}", 20, seed=n % 2, lora__rank=2) for n in range(3)])  # other images, say
    assert len(twice.rows) == 3 and not twice.replicated
    assert len({row.label for row in twice.rows}) == 3
    apart = arrange([result("a", 20, seed=1, lora__rank=2), result("b", 20, seed=2, lora__rank=4)])
    assert [row.label for row in apart.rows] == ["rank 2", "rank 4"] and not apart.replicated


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
