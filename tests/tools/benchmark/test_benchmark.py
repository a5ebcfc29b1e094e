from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from emote.config import Accelerator, Precision
from emote.tools.benchmark.arms import Rung, arm, names
from emote.tools.benchmark.counts import count
from emote.tools.benchmark.measure import build
from emote.tools.benchmark.options import BenchmarkConfig
from emote.tools.benchmark.ours import FastStep
from emote.tools.benchmark.resume import compare_bits
from emote.tools.benchmark.run import benchmark, shares
from emote.tools.benchmark.scaling import DeviceScaler
from emote.util.errors import ConfigError

CPU = torch.device("cpu")
CPU_ARMS = [name for name in names() if name not in (Rung.graph.name, Rung.compiled.name)]


def fast(name: str, base: Path, precision: Precision = Precision.float32) -> FastStep:
    step = build(arm(name, precision, 2), base, 32, CPU)
    assert isinstance(step, FastStep)
    generator = torch.Generator().manual_seed(1)
    for parameter in step.parameters:  # with B zero, A would have no gradient
        parameter.data.normal_(0, 0.05, generator=generator)
    if step.adapter:
        step.adapter.refresh()
    return step


@pytest.mark.parametrize("name", ["adapter_half", "fused", "channels_last"])
def test_rungs_leave_the_gradients_as_peft_has_them(tiny_sd: Path, name: str) -> None:
    expected, found = fast("unsynced", tiny_sd).gradients(), fast(name, tiny_sd).gradients()
    assert len(expected) == len(found) > 10
    for wanted, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-6)


def test_keys_and_values_computed_once_leave_the_gradients_as_they_are(tiny_sd: Path) -> None:
    expected, found = fast("text_apart", tiny_sd).gradients(), fast("text_once", tiny_sd).gradients()
    assert len(expected) == len(found) > 10
    for wanted, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-6)


def test_in_half_precision_the_gradients_are_near_those_of_a_float32_adapter(tiny_sd: Path) -> None:
    expected, found = (fast(name, tiny_sd, Precision.bf16).gradients() for name in ("unsynced", "fused"))
    difference = sum(float((a - b).square().sum()) for a, b in zip(expected, found, strict=True))
    assert difference < 0.1**2 * sum(float(a.square().sum()) for a in expected)


def test_the_adapter_in_half_precision_saves_casts(tiny_sd: Path) -> None:
    of_peft = count(build(arm("unsynced", Precision.bf16, 2), tiny_sd, 32, CPU), CPU)
    of_ours = count(build(arm("adapter_half", Precision.bf16, 2), tiny_sd, 32, CPU), CPU)
    assert of_ours.cast_bytes < of_peft.cast_bytes / 2


def test_a_step_that_overflows_is_left_out_and_halves_the_scale() -> None:
    scaler = DeviceScaler(CPU)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    weight.grad = torch.tensor([float("inf"), 1.0])
    optimizer.found_inf = scaler.unscale([weight.grad])  # type: ignore[attr-defined]
    optimizer.step()
    scaler.update()
    assert weight.tolist() == [1.0, 1.0] and float(scaler.scale) == 32768 and float(scaler.skipped) == 1
    weight.grad = torch.tensor([32768.0, 32768.0])
    optimizer.found_inf = scaler.unscale([weight.grad])  # type: ignore[attr-defined]
    assert weight.grad.tolist() == [1.0, 1.0]
    optimizer.step()
    assert weight.tolist() != [1.0, 1.0]


def test_every_arm_that_a_cpu_can_is_timed_and_written(tiny_sd: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    config = BenchmarkConfig(
        model=str(tiny_sd), arms=CPU_ARMS, precision=Precision.float32, batch_size=[2], resolution=32, seconds=0.01,
        output=str(output),
    )  # fmt: skip
    assert benchmark(config) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["row"] for row in rows] == CPU_ARMS
    assert all(row["finite"] and row["seconds"] > 0 and row["skipped"] == 0 for row in rows)


def test_micro_batches_are_one_step(tiny_sd: Path) -> None:
    whole = build(arm("unsynced", Precision.float32, 4), tiny_sd, 32, CPU).gradients()
    parts = build(arm("unsynced", Precision.float32, 4, 2), tiny_sd, 32, CPU).gradients()
    for wanted, got in zip(whole, parts, strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-6)


def test_shares_are_taken_within_a_round() -> None:
    rows = [
        {"arm": name, "batch": 8, "turn": turn, "seconds": seconds, "peak_bytes": None}
        for name, turn, seconds in [("a", 0, 1.0), ("b", 0, 0.5), ("a", 1, 4.0), ("b", 1, 1.0), ("b", 2, 9.0)]
    ]
    assert shares(rows)[1] == "batch 8: b takes 0.375 (0.250 to 0.500) of the time of a"


def test_training_that_goes_on_has_equal_bits(tiny_sd: Path, tmp_path: Path) -> None:
    found = compare_bits(tiny_sd, 32, 2, torch.float32, CPU, tmp_path)
    assert found["repeated"] and found["resumed"] and found["moved"] > 1e-4


def test_unknown_names_and_sizes_are_mistakes() -> None:
    with pytest.raises(ConfigError, match="did you mean fused"):
        benchmark(BenchmarkConfig(arms=["fusd"]))
    with pytest.raises(ConfigError, match="micro_batch must divide batch_size, got 3 and 8"):
        benchmark(BenchmarkConfig(micro_batch=3))
    with pytest.raises(ConfigError, match="has no unet/config"):
        benchmark(BenchmarkConfig(model="nowhere"))


def test_each_row_of_the_ladder_has_one_more_saving() -> None:
    sizes = Counter(len(arm(name, Precision.fp16, 8).rungs) for name in ("cached", "half", "unsynced", "fused"))
    assert sizes == {1: 1, 2: 1, 3: 1, 5: 1}
    assert arm("fused+graph", Precision.fp16, 8).rungs == arm("fused", Precision.fp16, 8).rungs | {Rung.graph}


def test_drawing_is_timed_beside_the_stock_pipeline(
    tiny_sd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emote.tools.benchmark.drawing.STEPS", 2)
    told = tmp_path / "rows.json"
    config = BenchmarkConfig(
        model=str(tiny_sd), arms=["draw", "draw_stock"], device=Accelerator.cpu, batch_size=[2], resolution=32,
        rounds=2, output=str(told),
    )  # fmt: skip
    assert benchmark(config) == 0
    rows = json.loads(told.read_text())["rows"]
    assert [row["arm"] for row in rows] == ["draw_stock", "draw"] * 2
    assert all(0 < row["unet_seconds"] < row["seconds"] for row in rows)
    assert "batch 2: draw takes" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="did you mean draw_stock"):
        benchmark(BenchmarkConfig(arms=["draw_stok"]))
