from __future__ import annotations

import pytest
import torch

from emote.config import Accelerator, Precision
from emote.models.device import choose
from emote.models.precision import Machine
from emote.util.errors import ConfigError

AMPERE, MAC, NOTHING = Machine("A100", (8, 0)), Machine(mps=True), Machine()


@pytest.mark.parametrize(
    ("machine", "device", "precision"),
    [(AMPERE, "cuda", Precision.fp16), (MAC, "mps", Precision.float32), (NOTHING, "cpu", Precision.float32)],
)
def test_the_best_there_is_is_chosen(machine: Machine, device: str, precision: Precision) -> None:
    assert choose(Accelerator.auto, Precision.auto, machine) == (torch.device(device), precision)


def test_what_is_asked_for_is_taken() -> None:
    assert choose(Accelerator.cpu, Precision.auto, AMPERE) == (torch.device("cpu"), Precision.float32)
    assert choose(Accelerator.auto, Precision.float32, AMPERE) == (torch.device("cuda"), Precision.float32)
    assert choose(Accelerator.cuda, Precision.bf16, AMPERE) == (torch.device("cuda"), Precision.bf16)


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("cuda", "auto", "device=cuda needs a CUDA GPU"),
        ("mps", "auto", "device=mps needs an Apple GPU"),
        ("cpu", "fp16", "precision=fp16 needs a GPU"),
        ("auto", "fp16", "precision=fp16 needs a GPU"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(device: str, precision: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(Accelerator[device], Precision[precision], NOTHING)
