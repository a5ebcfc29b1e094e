"""The loopback Hub for tests of this process, and a finished run to push."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import HubServer

NAME = "smoke"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """The only Hub that there is, with a token of its user in the environment; pauses before another try are short."""
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("emote.hub.push.FIRST_WAIT_S", 0.01)
        monkeypatch.setattr("emote.hub.push.LONGEST_WAIT_S", 0.05)
        yield server


@pytest.fixture(scope="session")
def delivered(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of 4 steps on the tiny Stable Diffusion, made once; not to be written to."""
    from emote.cli.train import compose_config
    from emote.training.run import run

    where = tmp_path_factory.mktemp("delivered")
    words = [
        "experiment=smoke", f"name={NAME}", f"model.path={tiny_sd}", "model.resolution=32", "data.max_items=16",
        "trainer.max_steps=4", "trainer.accelerator=cpu", "callbacks.checkpoint.every_steps=2",
        "callbacks.validation.every_steps=2", "callbacks.samples.inference_steps=2", f"run.dir={where}/runs",
        f"run.cache_dir={where}/cache",
    ]  # fmt: skip
    return run(compose_config(words), words).parent.parent


@pytest.fixture
def finished(delivered: Path, tmp_path: Path) -> Path:
    """A copy of that run's directory."""
    return Path(shutil.copytree(delivered, tmp_path / "runs" / delivered.name))
