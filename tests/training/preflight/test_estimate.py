from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.config import Config
from emote.models.precision import Decision
from emote.training.identify import Identified, identify
from emote.training.preflight.estimate import MATMUL_SIDE, Estimate, estimate, matmul_rate, seconds_of_pass
from emote.training.preflight.work import count_work
from tests.models.helpers import lora_config

CPU = Decision(torch.device("cpu"), torch.float32, "")


def estimated(config: Config, start: int = 0) -> Estimate:
    run: Identified = identify(config)
    return estimate(config, run.base, run.weights, CPU, run.found, start)


def test_the_speed_of_a_matrix_product_is_that_of_this_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MATMUL_SIDE, "cpu", 64)
    assert 1e6 < matmul_rate(CPU.device, torch.float32) < 1e13


def test_time_follows_from_what_was_counted(tiny_sd: Path) -> None:
    one, four = (count_work(tiny_sd, lora_config(), 32, rows, torch.float32) for rows in (1, 4))
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    slow = 1e3  # FLOP/s: the calls are nothing beside the arithmetic
    assert seconds_of_pass(four, slow, cpu) / seconds_of_pass(one, slow, cpu) == pytest.approx(4, rel=0.02)
    assert seconds_of_pass(four, 1e18, gpu) == pytest.approx(seconds_of_pass(one, 1e18, gpu), rel=0.05)  # calls alone
    assert seconds_of_pass(one, slow, cpu) > seconds_of_pass(one, slow, gpu)


def test_the_cache_is_as_large_as_was_said_and_is_known_when_it_is_there(
    tiny_config: Callable[..., Config], tiny_run: Callable[..., Path], tmp_path: Path
) -> None:
    values = {"run.cache_dir": tmp_path / "cache"}
    before = estimated(tiny_config(**values))
    assert before.missing_bytes == before.disk_bytes["cache"] and before.seconds["cache"] > 0
    tiny_run(**values)
    written = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.safetensors"))
    assert 0.8 * written < before.disk_bytes["cache"] <= written  # files have headers
    run = sum(file.stat().st_size for file in (tmp_path / "runs").rglob("*") if file.is_file())
    assert 0.2 * run < before.disk_bytes["run"] < 5 * run
    after = estimated(tiny_config(**values))
    assert (after.missing_bytes, after.seconds["cache"]) == (0, 0)
    # another data set, layout or encoder in the same directory finds nothing there that is its own
    others: tuple[dict[str, Any], ...] = ({"data.flip": True}, {"data.max_items": 12}, {"model.resolution": 64})
    for other in others:
        assert estimated(tiny_config(**values, **other)).missing_bytes > 0, other
    (half,) = (tmp_path / "cache" / "text").glob("*.safetensors")
    half.unlink()
    assert 0 < estimated(tiny_config(**values)).missing_bytes < before.missing_bytes
    shutil.rmtree(tmp_path / "cache")
    assert estimated(tiny_config(**values)).missing_bytes == before.missing_bytes


@pytest.mark.parametrize("change", [{"data.flip": "true"}, {"data.background": "random"}])
def test_variants_make_the_cache_larger(tiny_config: Callable[..., Config], change: dict[str, Any]) -> None:
    assert estimated(tiny_config(**change)).disk_bytes["cache"] > estimated(tiny_config()).disk_bytes["cache"]


def test_captions_that_depend_on_transparency_are_found_again(
    tiny_config: Callable[..., Config], tiny_run: Callable[..., Path], tmp_path: Path
) -> None:
    values = {"run.cache_dir": tmp_path / "cache", "data.background": "random"}
    tiny_run(**values)
    assert estimated(tiny_config(**values)).missing_bytes == 0


def test_only_what_is_left_counts(tiny_config: Callable[..., Config]) -> None:
    whole, rest = estimated(tiny_config()), estimated(tiny_config(), start=4)
    assert (whole.steps, rest.steps) == (6, 2)
    assert rest.seconds["train"] < whole.seconds["train"]


def test_the_summary_has_the_estimate_beside_what_was_measured(tiny_run: Callable[..., Path]) -> None:
    import json

    summary = json.loads((tiny_run() / "summary.json").read_text())
    expected = summary["estimate"]
    assert set(expected["seconds"]) == set(summary["seconds"]) - {"evaluate"}
    assert set(expected["peak_memory_bytes"]) == set(summary["peak_memory_bytes"])
    assert expected["seconds_per_step"] > 0 and expected["flops_per_step"] > 0 and expected["basis"]
    assert 0.5 < expected["peak_memory_bytes"]["host"] / summary["peak_memory_bytes"]["host"] < 2
