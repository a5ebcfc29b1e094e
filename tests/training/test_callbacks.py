"""Stock Lightning callbacks in a run, which scores its held-out loss in Lightning's own validation loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.util.errors import ConfigError
from tests.training.test_run import adapters, losses_of, summary, validations_of

Runner = Callable[..., Path]


def extra(kind: str, **values: Any) -> dict[str, Any]:
    return {f"+callbacks.extra.mine.{name}": value for name, value in {"_target_": kind, **values}.items()}


# held-out loss goes down in the tiny run, so asked for more than it can give it stops at its second validation
STOPPING = extra("pytorch_lightning.callbacks.EarlyStopping", monitor="validation_loss", min_delta=10.0, patience=1)
EMA = extra("pytorch_lightning.callbacks.EMAWeightAveraging", decay=0.5)


def test_early_stopping_ends_a_run_that_is_finished_then_and_for_any_length(tiny_run: Runner) -> None:
    short = {"callbacks.validation.every_steps": 2, **STOPPING}
    path = tiny_run(**short)
    assert path.name == "000006" and validations_of(path) == [2, 4]
    assert (summary(path)["stopped_at_step"], summary(path)["steps_run"]) == (4, 4)
    longer = tiny_run(**short, **{"trainer.max_steps": 8})
    assert (summary(longer)["stopped_at_step"], summary(longer)["steps_run"]) == (4, 0)
    assert adapters(longer)[0] == adapters(path)[0]


def test_a_stopped_run_learned_what_a_run_of_that_length_learns(tiny_run: Runner, tmp_path: Path) -> None:
    short = {"callbacks.validation.every_steps": 2, "run.dir": tmp_path / "stopped"}
    stopped = tiny_run(**short, **STOPPING)
    straight = tiny_run(**short, **{"trainer.max_steps": 4})
    assert adapters(stopped)[0] == adapters(straight)[0] and losses_of(stopped) == losses_of(straight)
    assert stopped.parent.parent.name != straight.parent.parent.name  # it may learn something else


def test_a_learning_rate_monitor_needs_no_logger_of_ours(tiny_run: Runner) -> None:
    path = tiny_run(**extra("pytorch_lightning.callbacks.LearningRateMonitor", only_watches=True))
    lines = [json.loads(line) for line in (path.parent.parent / "own_metrics.jsonl").read_text().splitlines()]
    assert [line["lr-AdamW"] for line in lines] == pytest.approx([3e-4] * 6)
    assert path.parent.parent.name == tiny_run().parent.parent.name


def test_an_average_of_weights_is_scored_delivered_and_resumed_bit_for_bit(tiny_run: Runner, tmp_path: Path) -> None:
    plain = tiny_run()
    straight = tiny_run(**EMA)
    tiny_run(**EMA, **{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    resumed = tiny_run(**EMA, **{"run.dir": tmp_path / "other"})
    assert summary(resumed)["resumed_from_step"] == 3
    assert adapters(resumed) == adapters(straight) != adapters(plain)
    assert losses_of(resumed) == losses_of(straight) == losses_of(plain)  # what is trained is not averaged
    final = summary(straight)["validation_loss"]["final"]
    assert final == summary(resumed)["validation_loss"]["final"] != summary(plain)["validation_loss"]["final"]
    checkpoint = torch.load(straight.parent.parent / "checkpoints" / "000006.ckpt", weights_only=True)
    for state in ("state_dict", "current_model_state"):
        assert all(".lora_" in name for name in checkpoint[state])  # nothing frozen, twice


def test_metrics_of_the_held_out_losses_are_logged_beside_their_mean(tiny_run: Runner) -> None:
    path = tiny_run(**{"callbacks.validation.metrics": "[high_noise]", **extra("pytorch_lightning.Callback")})
    lines = [json.loads(line) for line in (path.parent.parent / "own_metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6] and all(line["validation_high_noise"] > 0 for line in lines)


def test_a_target_that_does_not_exist_is_told_before_anything_is_loaded(tiny_run: Runner, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.extra\.mine\._target_ must be .*, got no\.Such"):
        tiny_run(**extra("no.Such"), **{"model.path": "weights/mini"})
    assert not list((tmp_path / "runs").glob("*"))
