"""The report: a page and Markdown that say the same, whole or half, on a sweep or on any runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from emote.sweeps.index import FILE
from emote.sweeps.reports.document import Code, Document, Drawing, Section, Sheet, Table
from emote.sweeps.reports.drawing import Bar, Line, draw_curves
from emote.sweeps.reports.page import as_page
from emote.sweeps.reports.report import short, write_report
from emote.sweeps.reports.results import find
from emote.util.errors import ConfigError
from tests.conftest import ROOT
from tests.sweeps.conftest import Finished


class Cells(HTMLParser):
    """The texts of the cells of the tables of numbers, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = ""
        self.feed(re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._inside = tag
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def rows_of_markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def both(directory: Path) -> tuple[str, str]:
    return (directory / "report.html").read_text(), (directory / "report.md").read_text()


def test_the_page_and_markdown_have_the_same_tables(finished: Finished) -> None:
    page, markdown = both(finished.directory)
    assert Cells(page).rows == rows_of_markdown(markdown)
    assert len(Cells(page).rows) == (1 + 2) + (1 + 2) + (1 + 4) + (1 + 2)


def test_the_losses_are_those_of_the_runs(finished: Finished) -> None:
    rows = {(row[0], row[1]): row for row in Cells(both(finished.directory)[0]).rows if len(row) == 10}
    for path in finished.runs.glob("*/steps/*"):
        with open(path / "validation.csv", newline="") as file:
            losses = [(float(row["base_loss"]), float(row["final_loss"])) for row in csv.DictReader(file)]
        summary = json.loads((path / "summary.json").read_text())
        row = rows[f"rank {summary['adapter']['rank']}", str(summary["max_steps"])]
        assert row[2] == f"{fmean(final for _, final in losses):.5f}"
        ends = summary["validation_loss"]["interval_95"]
        expected = [summary["validation_loss"]["difference"], *ends]
        assert [float(n.replace("−", "-")) for n in re.findall(r"[+−][\d.]+", row[3])] == pytest.approx(
            expected, abs=6e-6
        )
        assert (finished.directory / row[9]).resolve() == path.resolve()


def test_everything_that_markdown_shows_is_there(finished: Finished) -> None:
    shown = re.findall(r"!\[.*?\]\((.*?)\)", both(finished.directory)[1])
    assert shown == ["report/curves.svg", "report/sheet-00.png"]
    assert sorted(path.name for path in (finished.directory / "report").iterdir()) == ["curves.svg", "sheet-00.png"]


def test_a_half_finished_sweep_has_a_report(finished: Finished, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    directory = runs / "sweeps" / finished.directory.name
    index = json.loads((directory / FILE).read_text())
    for number, state in ((1, "started"), (2, "waiting"), (3, "waiting")):
        index["jobs"][number]["state"] = state
    (directory / FILE).write_text(json.dumps(index))
    shutil.rmtree(runs / index["jobs"][1]["run"].removeprefix("../../"))
    report = write_report([directory], directory)
    page, markdown = both(directory)
    assert "1 of 4 jobs are finished" in markdown and "3 jobs are not finished; this may change." in markdown
    assert Cells(page).rows == rows_of_markdown(markdown)
    head, first, second = Cells(page).rows[:3]
    assert head[1:] == ["2 steps", "4 steps"] and first[2] == "waiting" and second[1:] == ["started", "waiting"]
    assert short(report)[-1] == "3 jobs are not finished; this may change."

    for job in index["jobs"]:
        job["state"] = "waiting"
    (directory / FILE).write_text(json.dumps(index))
    assert short(write_report([directory], directory)) == ["no job has finished yet"]
    assert "0 of 4 jobs are finished" in both(directory)[1]


def test_any_runs_can_be_reported_on_by_their_names(finished: Finished, tmp_path: Path) -> None:
    names = sorted(path.name for path in finished.runs.glob("tiny-*"))
    words = [f"runs=[{names[0]}, {names[1]}]", f"runs_dir={finished.runs}", f"output={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-m", "emote", "report", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / "report.html")
    here, there = (Cells(both(at)[0]).rows for at in (tmp_path / "out", finished.directory))
    assert [row[:9] for row in here] == [row[:9] for row in there]  # all but the way to the runs


def test_what_is_no_run_is_told_with_the_nearest_name(finished: Finished) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {finished.directory.name}\?"):
        find(finished.directory.name[:-1], finished.runs)
    with pytest.raises(ConfigError, match="got nothing"):
        find("", finished.runs / "sweeps")


def test_a_report_without_held_out_images_shows_the_images(finished: Finished, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    for file in runs.glob("*/steps/*/validation.csv"):
        file.unlink()
    names = [path.name for path in runs.glob("tiny-*")]
    write_report(names, tmp_path, runs)
    page, markdown = both(tmp_path)
    assert "data.held_out=0" in markdown and "## Held-out loss" not in markdown
    assert page.count("<img ") == 2 * 3


BEYOND_THE_WINDOW = """() => [...document.querySelectorAll('main *:not(svg *)')].filter(e => {
    const isCut = e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != 'visible'
    return e.getClientRects().length && (isCut || e.getBoundingClientRect().right > innerWidth)
}).map(e => e.outerHTML.slice(0, 80))"""
COLLIDING = """() => [...document.querySelectorAll('figure svg')].filter(s => s.getClientRects().length).flatMap(s => {
    const texts = [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()])
    return texts.flatMap(([a, r], i) => texts.slice(i + 1)
        .filter(([b, q]) => r.left < q.right && q.left < r.right && r.top < q.bottom && q.top < r.bottom)
        .map(([b]) => `${a} over ${b}`))})"""


def check_fits(page: Any) -> None:
    """Nothing is cut or beyond the window, and no label of a drawing lies on another."""
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert page.evaluate(BEYOND_THE_WINDOW) == []
    assert page.evaluate(COLLIDING) == []


@pytest.mark.parametrize("width_px", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_a_browser_and_asks_for_nothing(
    browser: Any, finished: Finished, width_px: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width_px, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    url = (finished.directory / "report.html").as_uri()
    page.goto(url)
    assert [address for address in asked if not address.startswith("data:")] == [url] and said == []
    assert page.locator("script").count() == 0
    assert page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)") == [32] * (2 * 3)
    assert page.locator(".heat").count() == 4 and page.locator("figure svg:visible").count() == 1
    check_fits(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
    page.close()


@pytest.mark.parametrize("width_px", [390, 1280])
def test_many_long_names_fit_the_window_too(browser: Any, tmp_path: Path, width_px: int) -> None:
    label = "rank {}, learning rate 0.000{}, targets attention_ff, variant rslora"
    lines = [
        Line(label.format(n, n), [(0, 0), (15000, -0.01 * n)], [Bar(15000, -0.01 * n, (-0.3, 0))]) for n in range(9)
    ]
    steps = [1000 * step for step in range(1, 13)]
    head = ["run", *(f"{step:,} steps" for step in steps)]
    row = ["0.12345 ± 0.00123 (−12.34%), 2 of 3 seeds ◆"] * len(steps)
    table = Table(head, [[label.format(n, n), *row] for n in range(9)], [[None, *[0.5] * len(steps)]] * 9)
    narrow = draw_curves(lines, "optimizer steps", "loss", narrow=True)
    drawing = Drawing("a.svg", draw_curves(lines, "optimizer steps", "loss"), "", narrow)
    sheet = Sheet("a.png", "a prompt", head, [(label.format(n, n), [None] * len(head)) for n in range(2)])
    path = tmp_path / "page.html"
    path.write_text(as_page(Document("Sweep " + "a" * 60, [Code("python train.py " + "b" * 200)],
                                     [Section("All", [table, drawing, sheet])])))  # fmt: skip
    page = browser.new_page(viewport={"width": width_px, "height": 800})
    page.goto(path.as_uri())
    check_fits(page)
    page.close()
