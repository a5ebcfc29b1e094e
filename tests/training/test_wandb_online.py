"""Online runs, against a process that keeps what W&B's client sends: asserted is what is kept, not what was asked."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from emote.training.loggers import LoggedRun, build_loggers
from tests.wandb_server import Stored, wandb_server

KEY = 40 * "0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    with wandb_server(tmp_path_factory.mktemp("wandb_server")) as stored:
        yield stored


@pytest.fixture
def online(server: Stored, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    """A key and the server's address; W&B begins anew, as it reads the environment once."""
    wandb.teardown()
    for name, value in {"API_KEY": KEY, "BASE_URL": server.url, "MODE": "online"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield server
    wandb.teardown()


def history(run: dict[str, Any], name: str) -> list[tuple[int, float]]:
    return [(row["trainer/global_step"], row[name]) for row in run["history"] if name in row]


def rows(path: Path, name: str) -> list[tuple[int, float]]:
    with open(path / "metrics.csv", newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row[name]]


def test_a_run_and_its_continuation_are_one_run_there(
    online: Stored, tiny_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"logger.to": "[wandb]", "data.max_items": 16, "callbacks.validation.every_steps": 2}
    path = tiny_run(**words, **{"trainer.max_steps": 2})
    name = path.parent.parent.name
    key = f"tester/stable-emote/{name.rpartition('-')[2]}"
    said = capsys.readouterr()
    address = f"W&B: {online.url}/tester/stable-emote/runs/{name.rpartition('-')[2]}"
    assert address in said.out.splitlines() and said.out.splitlines()[-1] == str(path)
    assert address in said.err.splitlines()
    kept = online.runs()[key]
    assert kept["name"] == name and kept["exit"] == 0
    assert history(kept, "train/loss") == rows(path, "loss")
    assert history(kept, "validation/loss") == rows(path, "validation_loss")
    assert kept["summary"]["train/loss"] == rows(path, "loss")[-1][1]
    assert kept["config"]["lora"]["value"]["rank"] == 4
    (shown,) = [row["samples"] for row in kept["history"] if "samples" in row]
    image = Image.open(online.file(key, shown["filenames"][0])).convert("RGB")
    tuned = Image.open(path / "samples" / "00-fine-tuned.png").convert("RGB")
    assert image.crop((image.width - tuned.width, 0, *image.size)).tobytes() == tuned.tobytes()

    further = tiny_run(**words, **{"trainer.max_steps": 4})
    kept = online.runs()[key]
    assert [other for other in online.runs() if other.startswith("tester/stable-emote/")] == [key]
    assert history(kept, "train/loss") == rows(further, "loss") and len(rows(further, "loss")) == 4
    assert kept["summary"]["train/loss"] == rows(further, "loss")[-1][1]


VARIABLES = {"PROJECT": "theirs", "NAME": "a name", "ENTITY": "team", "TAGS": "one,two", "RUN_GROUP": "g", "NOTES": "n"}


@pytest.mark.parametrize("typed", [False, True])
def test_variables_are_obeyed_and_a_key_that_is_set_wins(
    online: Stored, typed: bool, make_config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    ours = {"project": "ours", "entity": "me", "group": "mine", "run_name": "typed"} if typed else {}
    config = make_config("logger=wandb", **{f"logger.{name}": value for name, value in ours.items()}).logger
    (logger,) = build_loggers(config, LoggedRun(tmp_path, "smoke-0123456789ab", "0123456789ab"))
    logger.log_metrics({"loss": 1.0}, 1)
    logger.close()
    kept = online.runs()["me/ours/0123456789ab" if typed else "team/theirs/0123456789ab"]
    assert (kept["name"], kept["group"]) == (("typed", "mine") if typed else ("a name", "g"))
    assert (kept["tags"], kept["notes"]) == (["one", "two"], "n")
    assert [row["train/loss"] for row in kept["history"]] == [1.0]


@pytest.mark.parametrize("variable", [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true"), ("WANDB_DISABLED", "1")])
def test_disabled_is_disabled(
    online: Stored, variable: tuple[str, str], make_config: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(*variable)
    before = online.runs()
    assert build_loggers(make_config("logger=wandb").logger, LoggedRun(tmp_path / "x", "name", "id")) == []
    assert "W&B: nothing is logged there, as WANDB_MODE or WANDB_DISABLED says" in capsys.readouterr().out
    assert online.runs() == before and not (tmp_path / "x").exists()


@pytest.mark.parametrize("mode", ["offline", "dryrun"])
def test_offline_sends_nothing(
    online: Stored, mode: str, make_config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("WANDB_MODE", mode)
    before, root = online.runs(), tmp_path / "My Drive" / "run"
    (logger,) = build_loggers(make_config("logger=wandb").logger, LoggedRun(root, "name", "id"))
    logger.close()
    assert online.runs() == before
    said = capsys.readouterr().out
    assert f"W&B: offline; later: wandb sync '{root}/wandb/offline-run-" in said and "reached" not in said
