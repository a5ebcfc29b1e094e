from __future__ import annotations

from pathlib import Path

import pytest

from emote.tools import doctor as module
from emote.tools.doctor import EXTRAS, DoctorOptions, doctor


def report(capsys: pytest.CaptureFixture[str], tmp_path: Path, code: int = 0) -> str:
    assert doctor(DoctorOptions(str(tmp_path / "runs"), str(tmp_path / "cache"))) == code
    return capsys.readouterr().out


def test_it_tells_versions_device_and_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = report(capsys, tmp_path)
    lines = {line.split("  ")[1].strip(): line for line in text.splitlines() if line.startswith("  ")}
    import torch

    assert torch.__version__ in lines["torch"] and "cores" in lines["CPU"] and "GiB free" in lines["runs_dir"]
    assert set(EXTRAS) <= set(lines) and text.rstrip().endswith("nothing is missing")
    assert list(tmp_path.iterdir()) == []


def test_secrets_and_the_users_name_stay_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "zaphod"
    home.mkdir()
    (home / ".netrc").write_text("machine api.wandb.ai login user password wandb-secret")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("WANDB_API_KEY", "wandb-secret")
    text = report(capsys, home)
    assert "secret" not in text and "zaphod" not in text and "~/runs" in text
    assert [line.split()[-1] for line in text.splitlines() if "Hub token" in line or "W&B key" in line] == ["found"] * 2


def test_what_is_missing_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "bundled", lambda path: tmp_path / path)
    monkeypatch.setattr(module, "_required", lambda: ["no-such-package"])
    text = report(capsys, tmp_path, code=1)
    assert "missing: the package no-such-package: pip install no-such-package" in text
    assert f"missing: {tmp_path}/weights/mini/model_index.json, which comes with emote; install it again" in text
