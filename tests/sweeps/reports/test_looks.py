"""What a sweep's report says of the images that its runs judged."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from emote.sweeps.reports.answer import read_report
from emote.sweeps.reports.report import short, write_report
from emote.util.errors import ConfigError
from tests.sweeps.conftest import Finished

CONCEPTS = 8


@pytest.fixture
def judged(finished: Finished, tmp_path: Path) -> list[Path]:
    """The runs, in whose images ever more concepts are recognised: in the order of their steps and ranks."""
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    files = sorted(runs.glob("tiny-*/steps/*/summary.json"), key=lambda file: (file.parts[-2], file.parts[-4]))
    for number, file in enumerate(files):
        with open(file.with_name("images.csv"), "w", newline="") as opened:
            table = csv.writer(opened)
            table.writerow(["name", "concept", "base_rank", "final_rank", "base_usable", "final_usable"])
            for row in range(CONCEPTS):
                table.writerow([f"a {row}", f"a {row}", 5.0, 5.5 if row < 6 - 2 * number else 1.0, 1, int(row < 3)])
    return sorted(path.parent for path in runs.glob("tiny-*/steps"))


def test_recognised_and_usable_are_shown_beside_the_loss_where_they_were_judged(
    judged: list[Path], tmp_path: Path
) -> None:
    report = write_report(judged, tmp_path / "out", judged[0].parent)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Recognised" in text and "## Usable in a pack" in text and "the base model has 100%" in text
    head = next(line for line in text.splitlines() if line.startswith("| job"))
    assert "recognised" in head and "usable in a pack" in head
    assert "25% (−75 pp)" in text and "38% (−62 pp)" in text
    told = [line for line in short(report) if ": " in line and not line.startswith("|")]
    assert told[0].startswith("Lowest held-out loss: ")
    assert any(line.startswith("Most recognised: 100% (0 pp to the base model)") for line in told)


def test_the_best_can_be_asked_for_by_what_is_recognised(judged: list[Path], tmp_path: Path) -> None:
    report = write_report(judged, tmp_path / "out", judged[0].parent, best="recognised")
    assert report.main and report.main.best.step == 4
    assert report.main.to_base[report.main.choice.best].final == 1
    told = [line for line in short(report) if ": " in line and not line.startswith("|")]
    assert told[0].startswith("Most recognised: 100%")
    assert "most recognised" in (tmp_path / "out" / "report.md").read_text()


def test_what_is_no_measure_or_was_not_judged_is_told(finished: Finished) -> None:
    with pytest.raises(ConfigError, match="best must be one of loss, recognised, usable, got recognized; did you mean"):
        read_report([finished.directory], finished.runs, "recognized")
    with pytest.raises(ConfigError, match="best=usable: no image of these runs was judged"):
        read_report([finished.directory], finished.runs, "usable")


def test_nothing_is_said_of_images_that_nobody_judged(finished: Finished) -> None:
    text = (finished.directory / "report.md").read_text()
    assert "Recognised" not in text and "usable" not in text
