"""What a sweep's report says of the images that its runs judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from emote.sweeps.reports.report import write_report
from tests.sweeps.conftest import Finished


def test_recognised_and_usable_are_shown_beside_the_loss_where_they_were_judged(
    finished: Finished, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    for number, file in enumerate(sorted(runs.glob("*/steps/*/summary.json"))):
        summary = json.loads(file.read_text())
        figures = {key: {"value": 0.25 + number / 8, "interval_95": None} for key in ("recognised_top5", "usable")}
        summary["images"] = {"fine_tuned": figures, "base": {key: {"value": 0.5} for key in figures}}
        file.write_text(json.dumps(summary))
    folders = sorted(path.parent for path in runs.glob("*/steps"))
    write_report(folders, tmp_path / "out", runs)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Recognised" in text and "## Usable in a pack" in text and "50% of the base model's" in text
    head = next(line for line in text.splitlines() if line.startswith("| job"))
    assert "recognised" in head and "usable in a pack" in head and "25%" in text


def test_nothing_is_said_of_images_that_nobody_judged(finished: Finished) -> None:
    text = (finished.directory / "report.md").read_text()
    assert "Recognised" not in text and "usable" not in text
