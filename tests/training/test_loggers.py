"""Weights & Biases: a key is found where W&B finds it, and without one the run is offline and asks nothing."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
import wandb
from PIL import Image

from emote.cli.train import compose_config
from emote.config import Config
from emote.training.loggers import LoggedRun, build_loggers
from emote.training.loggers.wandb import has_key
from emote.training.run import run
from emote.util.errors import ConfigError
from tests.hub_server import HubServer
from tests.training.wandb_log import Log, read_log


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No key in the environment, and a netrc file of our own; W&B begins anew, as it reads the environment once."""
    wandb.teardown()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield tmp_path / "netrc"
    wandb.teardown()


def test_without_a_key_there_is_none(nobody: Path) -> None:
    assert not has_key()
    nobody.write_text("machine example.org login user password secret\n")
    assert not has_key()
    nobody.write_text("this is no netrc file")
    assert not has_key()


def test_a_key_is_found_in_the_environment_or_in_netrc(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("api.wandb.ai", urlparse(wandb.Settings().base_url).hostname):
        nobody.write_text(f"machine {host} login user password {40 * '0'}\n")
        assert has_key()
    nobody.unlink()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    assert has_key()


def test_csv_needs_no_logger(make_config: Callable[..., Config], tmp_path: Path) -> None:
    assert build_loggers(make_config("logger=csv").logger, LoggedRun(tmp_path, "name", "id")) == []


def test_a_missing_package_says_what_to_install(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="needs the package wandb: pip install wandb"):
        build_loggers(make_config("logger=wandb").logger, LoggedRun(tmp_path, "name", "id"))


def logs_of(path: Path) -> list[tuple[Path, Log]]:
    """Directory and content of each offline log of the run that left `path`, the oldest first."""
    wandb.teardown()  # what it still holds goes to disk
    identity = path.parent.parent.name.rsplit("-", 1)[1]
    files = sorted(path.parent.parent.glob(f"wandb/offline-run-*-{identity}/run-{identity}.wandb"))
    found = [(file.parent, read_log(file)) for file in files]
    assert all(log.run_id == identity and log.exited for _, log in found)
    return found


@pytest.fixture(scope="module")
def words(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    where = tmp_path_factory.mktemp("logged")
    return [
        "experiment=smoke", f"model.path={tiny_sd}", "model.resolution=32", "data.max_items=16", "trainer.max_steps=3",
        "trainer.accelerator=cpu", "callbacks.checkpoint.every_steps=3", "callbacks.validation.every_steps=3",
        "callbacks.samples.every_steps=2", "callbacks.samples.inference_steps=2", "lora.rank=3", "logger.to=[wandb]",
        "logger.artifact=true", f"run.dir={where}/runs", f"run.cache_dir={where}/cache",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def logged(words: list[str]) -> Path:
    """What a run of 3 steps left, logged offline."""
    return run(compose_config(words), words)


def test_every_step_is_logged_as_metrics_csv_has_it(logged: Path) -> None:
    log = logs_of(logged)[0][1]
    assert log.steps_of("train/loss") == [1, 2, 3]
    with open(logged / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            told = log.at(int(row["step"]))
            for name in ("loss", "learning_rate", "grad_norm"):
                assert told[f"train/{name}"] == float(row[name])
            assert told["speed/seconds_per_step"] == pytest.approx(float(row["seconds"]), abs=1e-3)
            assert told["speed/images_per_second"] == pytest.approx(4 / told["speed/seconds_per_step"])
            assert told["memory/host_peak_bytes"] > 0
            assert told.get("validation/loss") == (float(row["validation_loss"]) if row["validation_loss"] else None)


def test_samples_are_shown_beside_the_bases_with_captions_and_as_a_table(logged: Path) -> None:
    directory, log = logs_of(logged)[0]
    assert log.steps_of("samples") == log.steps_of("samples_table") == [2, 3]
    prompts = ["An emoji of grinning face, openmoji style", "An emoji of red heart, openmoji style"]
    shown = log.at(3)["samples"]
    assert [caption.split(" (")[0] for caption in shown["captions"]] == prompts
    image = Image.open(directory / "files" / shown["filenames"][1]).convert("RGB")
    tuned, base = (Image.open(logged / "samples" / f"01-{kind}.png").convert("RGB") for kind in ("fine-tuned", "base"))
    assert image.size == (2 * tuned.width + 4, tuned.height)
    assert image.crop((0, 0, *base.size)).tobytes() == base.tobytes()
    assert image.crop((image.width - tuned.width, 0, *image.size)).tobytes() == tuned.tobytes()
    table = json.loads((directory / "files" / log.at(3)["samples_table"]["path"]).read_text())
    assert table["columns"] == ["step", "prompt", "seed", "base", "fine-tuned"]
    assert [row[:3] for row in table["data"]] == [[3, prompt, seed] for seed, prompt in enumerate(prompts)]


def test_the_resolved_configuration_and_the_adapter_are_logged(logged: Path) -> None:
    log = logs_of(logged)[0][1]
    assert (log.config["lora"]["rank"], log.config["lora"]["alpha"]) == (3, 3.0)  # a link, resolved
    assert log.config["data"]["source"] == "openmoji" and log.config["trainer"]["max_steps"] == 3
    ((name, _, aliases, files),) = (artifact for artifact in log.artifacts if artifact[1] == "model")
    assert (name, set(aliases)) == (logged.parent.parent.name, {"latest", "step-3"})
    assert set(files) == {"config.yaml", "pytorch_lora_weights.safetensors", "smoke.safetensors", "summary.json"}


def test_a_run_that_goes_on_goes_on_in_the_same_log(
    nobody: Path, logged: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*words, "trainer.max_steps=5", "logger.artifact=false", "callbacks.samples.prompts=[]"]
    path = run(compose_config(more), more)
    (first, before), (second, after) = logs_of(path)
    assert before.steps_of("train/loss") == [1, 2, 3] and after.steps_of("train/loss") == [4, 5]
    assert after.artifacts == [] and after.steps_of("samples") == []
    said = capsys.readouterr().out
    assert f"W&B: offline; later: wandb sync {first} {second}\n" in said  # both are uploaded to one run
    assert said.strip().splitlines()[-1] == str(path)


@pytest.fixture
def logged_run(nobody: Path, tiny_run: Callable[..., Path]) -> Callable[..., Path]:
    short = {"logger.to": "[wandb]", "trainer.max_steps": 1, "callbacks.samples.prompts": "[]"}
    return lambda: tiny_run(**short)


def test_with_a_key_and_no_network_the_run_goes_on_offline_and_asks_nothing(
    logged_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    path = logged_run()
    assert "W&B: it cannot be reached" in capsys.readouterr().out
    assert len(logs_of(path)) == 1


@pytest.mark.slow
def test_a_server_that_takes_nothing_ends_no_run(
    logged_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HubServer() as server:  # it speaks nothing that W&B does
        server.fail(500)
        monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setattr("emote.training.loggers.wandb.INIT_S", 2.0)
        path = logged_run()
        assert server.requests
    assert "W&B: offline; later: wandb sync" in capsys.readouterr().out
    assert len(logs_of(path)) == 1


def test_tensorboard_has_every_step_and_the_images(tiny_run: Callable[..., Path]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = tiny_run(**{"logger.to": "[tensorboard]", "trainer.max_steps": 2, "callbacks.validation.every_steps": 1})
    events = EventAccumulator(str(path.parent.parent / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]
    assert [event.step for event in events.Scalars("validation/loss")] == [1, 2]
    assert "samples/An emoji of red heart, openmoji style" in events.Tags()["images"]
