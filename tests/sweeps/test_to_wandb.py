"""What a sweep leaves on Weights & Biases: a run for each run, and its answer as one more of the same group."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emote.cli.train import main
from emote.sweeps.index import Index
from tests.sweeps.helpers import sweep_of
from tests.training.wandb_log import Log, read_log

wandb = pytest.importorskip("wandb", reason="needs the package wandb")


@dataclass(frozen=True)
class Logged:
    """runs: where the sweep's runs are kept. go: say it again, with something happening where one says so."""

    runs: Path
    go: Callable[..., int]

    @property
    def sweep(self) -> Path:
        return sweep_of(self.runs)

    def logs(self, name: str) -> list[tuple[Path, Log]]:
        """Directory and content of each log of the W&B run that is called so, the oldest first."""
        return [(directory, log) for directory, log in self.all_logs() if log.name == name]

    def all_logs(self) -> list[tuple[Path, Log]]:
        wandb.teardown()  # what it still holds goes to disk
        files = [*self.runs.glob("*/wandb/offline-run-*/*.wandb"), *self.sweep.glob("wandb/offline-run-*/*.wandb")]
        return [(file.parent, read_log(file)) for file in sorted(files, key=lambda file: file.parent.name)]


@pytest.fixture(scope="module")
def logged(sweep_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A sweep over two ranks, said three times: the second one fails, is stopped by a signal, and is finished."""
    where = tmp_path_factory.mktemp("logged")
    file = where / "disturb"
    words = [word.replace("=4,2", "=2") for word in sweep_words] + [
        "logger.to=[wandb]", "logger.project=tests", f"run.dir={where / 'runs'}",
        "+callbacks.extra.disturb._target_=tests.sweeps.helpers.Disturb",
        "+callbacks.extra.disturb.only_watches=true", f"+callbacks.extra.disturb.file={file}",
    ]  # fmt: skip

    def go(what: str = "") -> int:
        file.write_text(what) if what else file.unlink(missing_ok=True)
        return main(words)

    assert [go("raise 4 1"), go("SIGTERM 4 1"), go()] == [1, 143, 0]
    return Logged(where / "runs", go)


def rows(directory: Path, log: Log) -> list[dict[str, Any]]:
    (row,) = log.history
    table = json.loads((directory / "files" / row["report/table"]["path"]).read_text())
    return [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]


def test_jobs_of_one_process_are_closed_runs_of_one_group_named_by_what_differs(logged: Logged) -> None:
    logs = [log for _, log in logged.all_logs()]
    assert Counter(log.name for log in logs) == {"lora.rank=2": 1, "lora.rank=4": 3, "report": 2}
    assert len({log.run_id for log in logs}) == 3
    assert {log.group for log in logs} == {logged.sweep.name}
    assert all(log.exited for log in logs)


@pytest.mark.parametrize("rank", [2, 4])
def test_the_configuration_is_nested_as_in_conf(logged: Logged, rank: int) -> None:
    config = logged.logs(f"lora.rank={rank}")[0][1].config
    assert (config["lora"]["rank"], config["trainer"]["max_steps"], config["model"]["resolution"]) == (rank, 2, 32)


def test_a_job_that_failed_or_was_interrupted_goes_on_in_its_own_run(logged: Logged) -> None:
    (run,) = {entry.run for entry in Index(logged.sweep).entries() if "lora.rank=4" in entry.differs}
    logs = [log for _, log in logged.logs("lora.rank=4")]
    assert {log.run_id for log in logs} == {run.rpartition("-")[2]}
    assert logs[-1].steps_of("train/loss") == [2]  # what the signal let it save is not computed again


def test_the_answer_is_one_more_run_of_the_group(logged: Logged) -> None:
    directory, log = logged.logs("report")[-1]
    assert (log.job_type, log.run_id) == ("report", f"report-{logged.sweep.name.rpartition('-')[2]}")
    assert log.config["sweep"]["command"].startswith("python train.py -m lora.rank=2,4")
    assert log.notes.startswith("Lowest held-out loss: ")
    told = rows(directory, log)
    assert [(row["lora.rank"], row["steps"], row["state"]) for row in told] == [(2, 2, "finished"), (4, 2, "finished")]
    for row in told:
        path = logged.runs / row["directory"] / "steps" / "000002"
        held_out = json.loads((path / "summary.json").read_text())["validation_loss"]
        assert row["held-out loss"] == pytest.approx(held_out["final"])
        assert row["95 % from"] <= row["difference to base"] <= row["95 % to"]
        assert row["adapter bytes"] == (path / "pytorch_lora_weights.safetensors").stat().st_size
        assert row["seconds"] > 0 and row["seconds per step"] > 0 and row["peak memory bytes"] > 0


def test_a_half_finished_sweep_is_told_as_far_as_it_is_and_updated_later(logged: Logged) -> None:
    (directory, before), (_, after) = logged.logs("report")[:2]
    assert before.run_id == after.run_id
    finished, failed = rows(directory, before)
    assert (finished["state"], failed["state"], failed["lora.rank"]) == ("finished", "failed", 4)
    assert failed["held-out loss"] is None and finished["held-out loss"] > 0


def test_the_sheet_the_heat_map_and_the_page_are_there_to_be_looked_at(logged: Logged) -> None:
    directory, log = logged.logs("report")[-1]
    (row,) = log.history
    (sheet,) = row["report/sheets"]["filenames"]
    assert row["report/sheets"]["captions"] == ["“An emoji of cat”, seed 0"]
    drawn = Image.open(logged.sweep / "report" / "sheet-00.png").convert("RGB")
    assert Image.open(directory / "files" / sheet).convert("RGB").tobytes() == drawn.tobytes()
    heat_map = Image.open(directory / "files" / row["report/heat_map"]["path"]).convert("RGB")
    colours = {colour for _, colour in heat_map.getcolors(1 << 16) or []}
    # the lowest: half of the page's blue, as matplotlib blends it
    assert any(max(abs(a - b) for a, b in zip(colour, (143, 175, 223), strict=True)) <= 2 for colour in colours)
    page = (directory / "files" / row["report/page"]["path"]).read_text()
    assert page == (logged.sweep / "report.html").read_text()


def test_a_sweep_that_is_said_again_logs_only_an_answer_that_changed(logged: Logged) -> None:
    before = len(logged.all_logs())
    assert logged.go() == 0
    assert len(logged.all_logs()) == before


def test_a_log_that_cannot_be_written_fails_no_sweep(logged: Logged, capsys: pytest.CaptureFixture[str]) -> None:
    there, aside = logged.sweep / "wandb", logged.sweep / "aside"
    there.rename(aside)
    there.write_text("in the way")
    try:
        assert logged.go() == 0
    finally:
        there.unlink()
        aside.rename(there)
    said = capsys.readouterr().out.strip().splitlines()
    (told,) = [line for line in said if line.startswith("W&B: the report was not logged: ")]
    assert str(there) in told
    assert said[-1] == str(logged.sweep / "report.html")
