"""Weights & Biases: a key is found where W&B finds it, and without one the run is offline and asks nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emote.config import Config, ConfigError
from emote.training.loggers import build_loggers, has_key


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No key in the environment, and a netrc file of our own."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_without_a_key_there_is_none(nobody: Path) -> None:
    assert not has_key()
    nobody.write_text("machine example.org login user password secret\n")
    assert not has_key()
    nobody.write_text("this is no netrc file")
    assert not has_key()


def test_a_key_is_found_in_the_environment_or_in_netrc(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody.write_text("machine api.wandb.ai login user password " + 40 * "0" + "\n")
    assert has_key()
    nobody.unlink()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    assert has_key()


def test_csv_needs_no_logger(make_config: Callable[..., Config], tmp_path: Path) -> None:
    assert build_loggers(make_config("logger=csv").logger, tmp_path, "name", "id") == []


def test_a_missing_package_says_what_to_install(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"emote\[wandb\].*logger=csv"):
        build_loggers(make_config("logger=wandb").logger, tmp_path, "name", "id")


def test_an_offline_run_is_kept_in_the_run_directory(
    nobody: Path, tiny_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    path = tiny_run(**{"logger.wandb": "true", "trainer.max_steps": 2, "callbacks.samples.prompts": "[]"})
    identity = path.parent.parent.name.rsplit("-", 1)[1]
    kept = list(path.parent.parent.glob(f"wandb/offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(kept) == 1 and kept[0].stat().st_size > 0
