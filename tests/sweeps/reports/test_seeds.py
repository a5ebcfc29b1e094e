"""Seeds are replicates: means with intervals, cells compared seed by seed, and no seed recommended."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import t

from emote.sweeps.reports.answer import Report, next_commands
from emote.sweeps.reports.report import short, write_report
from tests.sweeps.conftest import Finished
from tests.sweeps.reports.test_report import check_fits

SHIFTS = {1: 0.02, 2: -0.01, 3: 0.005}  # of all losses of a seed: what is shared is in no difference


@pytest.fixture(scope="module")
def replicated(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three seeds: those of the sweep as if they had been, with losses that are shifted."""
    runs = tmp_path_factory.mktemp("replicated")
    for folder in finished.runs.glob("tiny-*"):
        for seed, shift in SHIFTS.items():
            copy = runs / f"tiny-{seed}{folder.name[-11:]}"
            shutil.copytree(folder, copy)
            for config in copy.glob("steps/*/config.yaml"):
                values = yaml.safe_load(config.read_text())
                values["seed"] = values["lora"]["seed"] = seed
                config.write_text(yaml.safe_dump(values, sort_keys=False))
                _shift(config.with_name("validation.csv"), shift)
    return runs


def _shift(file: Path, by: float) -> None:
    with open(file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    with open(file, "w", newline="") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows({**row, "final_loss": float(row["final_loss"]) + by} for row in rows)


def report_on(runs: Path, output: Path, *leave_out: str) -> Report:
    names = [path.name for path in sorted(runs.glob("tiny-*")) if path.name not in leave_out]
    return write_report(names, output, runs)


def losses(runs: Path, rank: int, step: int) -> np.ndarray:
    """[seeds, images]"""
    found = []
    for config in sorted(runs.glob(f"tiny-*/steps/{step:06d}/config.yaml")):
        if yaml.safe_load(config.read_text())["lora"]["rank"] == rank:
            with open(config.with_name("validation.csv"), newline="") as lines:
                found.append([float(row["final_loss"]) for row in csv.DictReader(lines)])
    return np.array(found)


def test_a_cell_has_the_mean_of_its_seeds_with_students_interval(replicated: Path, tmp_path: Path) -> None:
    report = report_on(replicated, tmp_path)
    assert [row.label for row in report.grid.rows] == ["rank 2", "rank 4"] and report.grid.steps == [2, 4]
    means = losses(replicated, 2, 4).mean(axis=1)
    half = t.ppf(0.975, 2) * means.std(ddof=1) / 3**0.5
    cells = next(line for line in short(report) if line.startswith("| rank 2")).split("|")
    shown = re.findall(r"[\d.]+", cells[3])
    assert [float(number) for number in shown[:2]] == pytest.approx([means.mean(), half], abs=6e-6)


def test_cells_are_compared_seed_by_seed_so_that_what_seeds_share_is_in_no_difference(
    replicated: Path, tmp_path: Path
) -> None:
    main = report_on(replicated, tmp_path).main
    assert main and main.seeds == 3
    for cell, found in zip(main.cells, main.to_best, strict=True):
        if found is not None:
            assert found.interval_95 and found.interval_95[1] - found.interval_95[0] < min(map(abs, SHIFTS.values()))
            best = losses(replicated, int(main.best.row.values["lora.rank"]), main.best.step)
            own = losses(replicated, int(cell.row.values["lora.rank"]), cell.step)
            assert found.difference == pytest.approx((own - best).mean())
    for found in main.to_base:  # to the base each seed differs by its shift
        assert found.interval_95 and found.interval_95[1] - found.interval_95[0] > max(SHIFTS.values())


def test_no_seed_is_recommended(replicated: Path, tmp_path: Path) -> None:
    report = report_on(replicated, tmp_path)
    lines = short(report)
    assert not any("seed 1" in line or "seed 2" in line or "seed 3" in line for line in lines)
    assert any("mean of 3 seeds, rank" in line for line in lines)
    assert any(line.startswith("Seeds are replicates") for line in lines)
    told = list(next_commands(report, replicated))
    assert told[0].endswith("(any of its seeds will do):")
    assert told[1].startswith("  emote generate run=tiny-1") and told[1].endswith(f" runs_dir={replicated}")
    assert told[3].count("tiny-") == 3
    text = (tmp_path / "report.md").read_text()
    assert "## Every cell" in text and "3 of 3" in text and "| rank 2, seed 3" in text


def test_a_cell_with_fewer_seeds_takes_no_part_in_the_choice(replicated: Path, tmp_path: Path) -> None:
    """Of rank 4 the one seed is left whose losses are the lowest."""
    others = [path.name for path in replicated.glob("tiny-[13]*") if _rank(path) == 4]
    report = report_on(replicated, tmp_path, *others)
    assert report.main and report.main.best.row.label == "rank 2"
    lucky = [found.final for cell, found in zip(report.main.cells, report.main.to_base, strict=True)
             if cell.row.label == "rank 4"]  # fmt: skip
    assert min(lucky) < report.main.to_base[report.main.choice.best].final
    assert any("2 cells have fewer than 3 seeds and take no part" in line for line in short(report))


def _rank(run: Path) -> int:
    return int(yaml.safe_load(next(run.glob("steps/*/config.yaml")).read_text())["lora"]["rank"])


@pytest.mark.parametrize("width_px", [390, 1280])
def test_the_page_fits_its_window(browser: Any, replicated: Path, tmp_path: Path, width_px: int) -> None:
    report_on(replicated, tmp_path)
    page = browser.new_page(viewport={"width": width_px, "height": 800})
    page.goto((tmp_path / "report.html").as_uri())
    check_fits(page)
    page.close()
