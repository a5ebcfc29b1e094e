from __future__ import annotations

import math
from pathlib import Path

import pytest

from emote.runs.metrics_file import COLUMNS, MetricsFile, Row


def row(step: int, **values: float) -> Row:
    return {"step": float(step), "loss": 1 / (step + 2), "learning_rate": 1e-4, **values}


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    """Rows 1 to 5."""
    file = MetricsFile(tmp_path / "metrics.csv")
    file.keep_until(0)
    for step in range(1, 6):
        file.append(row(step))
    return file


def steps(file: MetricsFile) -> list[int]:
    return [int(found["step"]) for found in file.rows()]


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert MetricsFile(tmp_path / "metrics.csv").rows() == []


def test_a_new_file_has_a_header_and_no_rows(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "run" / "metrics.csv")
    assert file.keep_until(100) == 0
    assert file.path.read_text() == ",".join(COLUMNS) + "\n"
    assert file.rows() == []


def test_rows_are_read_as_they_were_appended(metrics: MetricsFile) -> None:
    assert metrics.rows() == [row(step) for step in range(1, 6)]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53 + 2, math.inf])
def test_numbers_are_read_back_to_the_last_bit(metrics: MetricsFile, value: float) -> None:
    metrics.append(row(6, grad_norm=value, validation_loss=value))
    read = metrics.rows()[-1]
    assert read["grad_norm"].hex() == read["validation_loss"].hex() == value.hex()


def test_seconds_are_rounded_since_nobody_needs_nanoseconds(metrics: MetricsFile) -> None:
    metrics.append(row(6, seconds=0.123456789))
    assert metrics.rows()[-1]["seconds"] == 0.1235


def test_what_is_not_a_number_or_was_not_measured_is_empty(metrics: MetricsFile) -> None:
    metrics.append({"step": 6, "loss": math.nan, "grad_norm": 0.0})
    assert metrics.path.read_text().splitlines()[-1] == "6,,,0.0,,,"
    assert metrics.rows()[-1] == {"step": 6, "grad_norm": 0}


@pytest.mark.parametrize("rest", ["6", "6,0.5,0.00", "6,0.5,0.0001,,,,1.5"])
def test_a_last_line_that_was_cut_off_is_no_row_and_is_dropped(metrics: MetricsFile, rest: str) -> None:
    with open(metrics.path, "a") as file:
        file.write(rest)
    assert steps(metrics) == [1, 2, 3, 4, 5]
    assert metrics.keep_until(100) == 5
    metrics.append(row(6))
    assert metrics.rows() == [row(step) for step in range(1, 7)]


@pytest.mark.parametrize("text", ["", "ste", ",".join(COLUMNS)])
def test_a_header_that_was_cut_off_is_written_again(tmp_path: Path, text: str) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.path.write_text(text)
    assert file.rows() == [] and file.keep_until(5) == 0
    file.append(row(1))
    assert file.rows() == [row(1)]


def test_steps_that_are_computed_again_leave_no_doubles(metrics: MetricsFile) -> None:
    before = metrics.path.read_bytes()
    assert metrics.keep_until(3) == 3
    assert steps(metrics) == [1, 2, 3]
    for step in (4, 5):
        metrics.append(row(step))
    assert metrics.path.read_bytes() == before


def test_keeping_everything_changes_no_byte(metrics: MetricsFile) -> None:
    metrics.append(row(6, grad_norm=1 / 7, stuck_share=0.25, validation_loss=0.3, seconds=1.25))
    before = metrics.path.read_bytes()
    assert metrics.keep_until(1000) == 6
    assert metrics.path.read_bytes() == before


def test_a_copy_ends_at_its_step_and_leaves_the_original(metrics: MetricsFile, tmp_path: Path) -> None:
    before = metrics.path.read_bytes()
    copied = metrics.copy_until(2, tmp_path / "steps" / "copy.csv")
    assert copied == MetricsFile(tmp_path / "steps" / "copy.csv").rows() == [row(1), row(2)]
    assert metrics.path.read_bytes() == before
