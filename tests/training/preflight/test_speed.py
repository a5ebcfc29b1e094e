from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from emote.models.precision import Decision
from emote.training.preflight.speed import GPU_TFLOPS, gpu_rate, matmul_rate, speed_of, timed_here
from emote.training.preflight.work import count_work
from tests.models.helpers import lora_config

CPU = torch.device("cpu")
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Tesla T4", "T4"), ("NVIDIA A100-SXM4-40GB", "A100"), ("NVIDIA A10G", "A10"), ("NVIDIA L40S", "L40"),
        ("NVIDIA L4", "L4"), ("NVIDIA GeForce RTX 4090", "4090"), ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 3090 Ti", "3090"), ("Tesla V100-SXM2-16GB", "V100"), ("NVIDIA GH200 480GB", "GH200"),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_its_name(name: str, key: str) -> None:
    found = gpu_rate(name, HALF, (8, 0))
    assert found is not None and found[0] == GPU_TFLOPS[key][0] * 1e12


def test_a_gpu_that_is_not_known_is_said_to_be() -> None:
    assert gpu_rate("Some Other Device 1", HALF, (9, 0)) is None


def test_a_t4_is_planned_with_what_was_measured_and_emulates_bf16_slowly() -> None:
    half, brain, full = (gpu_rate("Tesla T4", dtype, (7, 5)) for dtype in (HALF, BRAIN, FULL))
    assert half and brain and full
    assert 11e12 <= half[0] <= 14e12
    assert half[0] / brain[0] == pytest.approx(4.3) and "emulated" in brain[1]
    a100 = [gpu_rate("NVIDIA A100", dtype, (8, 0)) for dtype in (HALF, BRAIN)]
    assert a100[0] == a100[1]


def test_half_of_the_work_takes_half_of_the_time(tiny_sd: Path) -> None:
    work = count_work(tiny_sd, lora_config(), 32, 2, FULL)
    seconds, share = timed_here(work.step.operations, budget_seconds=60)
    assert seconds > 0 and share > 0.99  # nearly every operation of a step can be done again alone
    nothing, none = timed_here(work.step.operations, budget_seconds=-1)
    assert nothing > 0 and none == 0
    assert timed_here(Counter()) == (0, 0)


def test_the_basis_says_what_was_timed_and_where(tiny_sd: Path) -> None:
    speed = speed_of(count_work(tiny_sd, lora_config(), 32, 2, FULL).step, Decision(CPU, FULL, ""))
    assert speed.seconds > 0 and "timed on this CPU (1 thread, float32)" in speed.basis


def test_a_matrix_product_can_be_timed_on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emote.training.preflight.speed.MATMUL_SIDE", 64)
    assert matmul_rate(CPU, FULL) > 0
