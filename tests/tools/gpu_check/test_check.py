from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emote.__main__ import main
from emote.config import Precision
from emote.models.precision import Decision
from emote.tools.gpu_check.findings import CheckConfig, Measured, as_markdown, findings
from emote.tools.gpu_check.steps import RandomRows, measure

CONFIG = CheckConfig(max_steps=10, batch_size=2, resolution=32, precision=Precision.fp16)
GOOD = Measured(
    losses=[1.0] * 200, grad_norms=[1.0] * 200, finite_weights=True, moved_share=0.999, seconds_per_step=0.25,
    peak_bytes=4 * 2**30, reserved_bytes=5 * 2**30, attention="memory-efficient (32 calls)", skipped_steps=3,
    final_scale=8192.0, estimate={"seconds_per_step": 0.24, "peak_bytes": 4 * 2**30, "basis": "its class"},
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_some_steps_are_trained_through_the_real_trainer(tiny_sd: Path, dtype: torch.dtype) -> None:
    measured = measure(CONFIG, Decision(torch.device("cpu"), dtype, ""), tiny_sd)
    assert len(measured.losses) == len(measured.grad_norms) == 10
    assert (measured.final_scale is not None) == (dtype is torch.float16)
    assert measured.finite_weights and measured.moved_share > 0.9
    assert measured.peak_bytes is None and measured.estimate["peak_bytes"] > 0
    assert "calls" in measured.attention
    assert all(held for _, held in findings(CONFIG, measured)[:2])


def failed(measured: Measured, config: CheckConfig | None = None) -> list[str]:
    return [what for what, held in findings(config or CheckConfig(), measured) if not held]


def test_what_does_not_hold_is_found() -> None:
    assert failed(GOOD) == []
    assert "finite loss" in failed(replace(GOOD, losses=[1.0] * 199 + [float("nan")]))[0]
    assert "finite loss" in failed(replace(GOOD, skipped_steps=50))[0]
    assert "moved" in failed(replace(GOOD, moved_share=0.5))[0]
    assert "attention" in failed(replace(GOOD, attention="plain, not fused (32 calls)"))[0]
    assert "4.60 GiB, at most 4.5 GiB" in failed(replace(GOOD, peak_bytes=int(4.6 * 2**30)))[0]
    larger = CheckConfig(batch_size=16)
    assert failed(replace(GOOD, peak_bytes=int(4.6 * 2**30)), larger) == []  # the cap alone
    assert "at most 14.0 GiB" in failed(replace(GOOD, peak_bytes=15 * 2**30), larger)[0]


def test_the_section_has_command_device_and_both_figures() -> None:
    text = as_markdown(CheckConfig(), "Tesla T4, float16", GOOD, findings(CheckConfig(), GOOD), 90)
    assert text.startswith("## Tesla T4, float16, ")
    assert "`emote tools check-gpu max_steps=200 batch_size=8 resolution=256 precision=fp16 memory_gb=15.0`" in text
    assert "| seconds a step | 0.250 | 0.240 |" in text and "| peak of memory | 4.00 GiB | 4.00 GiB |" in text
    assert text.count("- held: ") == 4 and "did not hold" not in text


def test_rows_are_the_same_whenever_they_are_read() -> None:
    rows = RandomRows(3, (4, 8, 8), (32, 16))
    assert torch.equal(rows[1]["mean"], rows[1]["mean"]) and not torch.equal(rows[1]["mean"], rows[2]["mean"])
    with pytest.raises(IndexError):
        rows[3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_it_would_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "check-gpu"]) == 2
    said = capsys.readouterr().err
    assert "needs a CUDA GPU" in said and "fused kernel" in said and "finite under loss scaling" in said
