from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emote.config import Config
from emote.training.callbacks import pace
from emote.training.callbacks.pace import correct
from tests.training.preflight.test_estimate import estimated

CPU = torch.device("cpu")


def test_the_time_is_corrected_where_the_first_steps_tell_another(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config()
    total = {"cache": 0.0, "train": 1000.0, "sample": 0.0, "total": 1000.0}
    expected = replace(estimated(config), steps=1000, seconds_per_step=1.0, seconds=total)
    assert correct(expected, [9.0, 1.2, 1.2], config, CPU) is None  # the first step warms up
    line = correct(expected, [9.0, 4.0, 4.0], config, CPU)
    assert line == "time, by the first steps: about 67 min, as a step takes 4 s and not 1 s"
    assert (correct(expected, [0.1] * 3, config, CPU) or "").startswith("time, by the first steps: about 100 s")
    line = correct(expected, [9.0, 40.0, 40.0], config, CPU)
    assert line and line.endswith("that is longer than run.max_hours=6 (Ctrl-C saves and stops)")


def test_a_run_says_it_once(
    tiny_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "STEPS", 3)
    monkeypatch.setattr(pace, "NEAR", 1.0)  # any difference is worth a line
    tiny_run()
    assert capsys.readouterr().out.count("time, by the first steps: about") == 1
