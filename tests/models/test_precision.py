from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emote.config import Accelerator, Precision
from emote.models.precision import Machine, decide
from emote.util.errors import ConfigError

T4 = Machine(gpu="Tesla T4", capability=(7, 5))
A100 = Machine(gpu="NVIDIA A100", capability=(8, 0))
MAC = Machine(mps=True)
CPU = Machine()


@pytest.mark.parametrize(
    ("machine", "device", "dtype"),
    [
        (T4, "cuda", torch.float16),
        (A100, "cuda", torch.bfloat16),
        (MAC, "mps", torch.float32),
        (CPU, "cpu", torch.float32),
    ],
)
def test_auto_takes_the_best_device_and_what_it_computes_natively(
    machine: Machine, device: str, dtype: torch.dtype
) -> None:
    decision = decide(Precision.auto, Accelerator.auto, machine)
    assert (decision.device.type, decision.frozen) == (device, dtype)
    assert decision.reason and "\n" not in decision.reason


@pytest.mark.parametrize("machine", [T4, A100])
@pytest.mark.parametrize("asked", [Precision.float32, Precision.fp16, Precision.bf16])
def test_on_a_gpu_what_is_asked_is_done(machine: Machine, asked: Precision) -> None:
    dtypes = {Precision.float32: torch.float32, Precision.fp16: torch.float16, Precision.bf16: torch.bfloat16}
    assert decide(asked, Accelerator.cuda, machine).frozen is dtypes[asked]


def test_bf16_on_a_t4_is_done_with_a_warning_of_its_cost_and_its_remedy() -> None:
    decision = decide(Precision.bf16, Accelerator.auto, T4)
    assert decision.frozen is torch.bfloat16
    assert decision.warning and "4.3 times as slow" in decision.warning and "trainer.precision=fp16" in decision.warning


@pytest.mark.parametrize(
    ("asked", "machine"), [(Precision.bf16, A100), (Precision.fp16, T4), (Precision.auto, T4), (Precision.auto, CPU)]
)
def test_nothing_else_is_warned_of(asked: Precision, machine: Machine) -> None:
    assert decide(asked, Accelerator.auto, machine).warning is None


def test_the_cpu_is_used_where_it_is_asked_although_there_is_a_gpu() -> None:
    assert decide(Precision.auto, Accelerator.cpu, T4).device == torch.device("cpu")
    assert decide(Precision.bf16, Accelerator.cpu, CPU).frozen is torch.bfloat16


def test_fp16_on_a_cpu_is_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match="float32"):
        decide(Precision.fp16, Accelerator.cpu, T4)


@pytest.mark.parametrize("accelerator", [Accelerator.cuda, Accelerator.mps])
def test_a_device_that_is_not_there_is_named_with_what_works_here(accelerator: Accelerator) -> None:
    with pytest.raises(ConfigError) as caught:
        decide(Precision.auto, accelerator, CPU)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "this machine has none" in lines[0] and "python train.py experiment=quickstart" in lines[1]


@pytest.mark.parametrize(("machine", "there"), [(replace(A100, gpus=2), 2), (MAC, 1)])
def test_more_gpus_than_there_are_cannot_be_had(machine: Machine, there: int) -> None:
    assert decide(Precision.auto, Accelerator.auto, machine, devices=there).device.type in ("cuda", "mps")
    with pytest.raises(ConfigError, match=rf"trainer.devices must be at most {there}.*, got {there + 1}"):
        decide(Precision.auto, Accelerator.auto, machine, devices=there + 1)


def test_a_cpu_is_shared_by_as_many_processes_as_one_likes() -> None:
    assert decide(Precision.auto, Accelerator.auto, CPU, devices=8).device.type == "cpu"


def test_this_machine_can_be_asked() -> None:
    assert decide(Precision.auto, Accelerator.auto).reason
