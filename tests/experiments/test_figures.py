from __future__ import annotations

import functools
from typing import Any

import pytest

from emote.cli.train import compose_config
from emote.config import Config
from emote.experiments import reported
from emote.experiments.figures import Line, figures


@functools.cache
def as_reported() -> Config:
    return compose_config(["experiment=reported"])


def lines(rows: list[dict[str, float]], **changes: Any) -> dict[str, Line]:
    summary = {
        "max_steps": 4500,
        "seconds_per_step": 0.25,
        "peak_memory_bytes": {"host": 2_000_000_000, "device": None},
        "precision": {"frozen": "bfloat16", "adapter": "bfloat16", "reason": "bf16 as asked, on the CPU"},
        "device": "CPU",
    } | changes
    found = figures(as_reported(), summary, rows)
    return {line.what.split(",")[0].split(" (")[0]: line for line in found}


def losses(count: int) -> list[dict[str, float]]:
    return [{"step": i + 1, "loss": 0.07 if i < 500 else 0.06, "seconds": 3600 * 6.5 / count} for i in range(count)]


def test_the_difference_of_a_range_is_to_its_nearer_end() -> None:
    assert [reported.HOURS.difference(hours) for hours in (5, 6.5, 9)] == [-1, 0, 2]
    assert reported.STEPS.difference(300) == -4200


def test_the_means_are_of_the_first_and_the_last_500_steps() -> None:
    found = figures_of_losses(losses(1500))
    assert found[0].measured == pytest.approx(0.07) and found[1].measured == pytest.approx(0.06)
    assert found[0].difference == pytest.approx(0.07 - 0.06776419)
    assert found[0].what.endswith("first 500 steps") and found[0].texts[0] == "0.06776419"


def figures_of_losses(rows: list[dict[str, float]]) -> list[Line]:
    summary = {
        "max_steps": len(rows), "seconds_per_step": 1.0, "peak_memory_bytes": {"host": 1, "device": 1}, "device": "GPU",
        "precision": {"frozen": "bfloat16", "adapter": "bfloat16", "reason": "so"},
    }  # fmt: skip
    found = figures(as_reported(), summary, rows)
    return [line for line in found if line.what.startswith("training loss")]


def test_a_short_run_says_how_many_steps_its_means_are_of() -> None:
    found = figures_of_losses(losses(20))
    assert [line.what for line in found] == [
        "training loss, mean of the first 20 steps",
        "training loss, mean of the last 20 steps",
    ]


def test_the_spread_is_the_error_of_the_mean() -> None:
    rows = [{"loss": value} for value in (1.0, 2.0, 3.0)]
    assert figures_of_losses(rows)[0].spread == pytest.approx(1.96 * 1 / 3**0.5)


def test_time_is_that_of_all_steps_and_equal_figures_have_no_difference() -> None:
    found = lines(losses(100))
    assert found["hours of steps"].measured == pytest.approx(6.5) and found["hours of steps"].difference == 0
    assert found["optimizer steps"].difference == 0 and found["optimizer steps"].texts == ("4,500", "4,500", "0")
    assert found["seconds a step"].difference == pytest.approx(0.25 - 3.08)


def test_memory_is_the_gpus_where_there_is_one() -> None:
    assert lines(losses(5))["peak memory"].texts[1] == "2.00 GB"
    found = lines(losses(5), peak_memory_bytes={"host": 2_000_000_000, "device": 4_000_000_000})
    assert found["peak memory"].texts[1] == "4.00 GB" and "GPU" in found["peak memory"].what


def test_the_precision_that_was_asked_for_and_the_one_used_are_told_with_the_reason() -> None:
    found = lines(losses(5))
    assert "bf16" in str(found["precision asked for"].measured) and "bfloat16" in str(
        found["precision asked for"].measured
    )
    assert "as asked, on the CPU" in str(found["precision used"].measured)
