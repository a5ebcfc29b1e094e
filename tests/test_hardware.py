"""What the presets of conf/hardware ask of a machine."""

from __future__ import annotations

import pytest

from emote.cli.train import compose_config
from emote.config import micro_batch
from emote.models.precision import Machine, decide

MACHINES = {
    "t4": Machine("Tesla T4", (7, 5)),
    "ampere": Machine("NVIDIA GeForce RTX 3090", (8, 6)),
    "hopper": Machine("NVIDIA H100 80GB HBM3", (9, 0)),
    "mps": Machine(mps=True),
    "cpu": Machine(),
    "auto": Machine("Tesla T4", (7, 5)),
}


@pytest.mark.parametrize(
    ("preset", "device", "dtype", "rows"),
    [
        ("t4", "cuda", "torch.float16", 8),
        ("ampere", "cuda", "torch.bfloat16", 16),
        ("hopper", "cuda", "torch.bfloat16", 32),
        ("mps", "mps", "torch.float32", 8),
        ("cpu", "cpu", "torch.float32", 8),
        ("auto", "cuda", "torch.float16", 8),
    ],
)
def test_a_preset_is_right_for_its_machine(preset: str, device: str, dtype: str, rows: int) -> None:
    trainer = compose_config([f"hardware={preset}", "trainer.batch_size=32"]).trainer
    decision = decide(trainer.precision, trainer.accelerator, MACHINES[preset])
    assert (decision.device.type, str(decision.frozen), decision.warning) == (device, dtype, None)
    assert micro_batch(trainer) == rows


def test_a_t4_gets_what_free_colab_has() -> None:
    trainer = compose_config(["hardware=t4"]).trainer
    assert trainer.num_workers == 2 and not trainer.gradient_checkpointing
    assert micro_batch(trainer) == trainer.batch_size == 8


@pytest.mark.parametrize("preset", ["ampere", "hopper"])
def test_bf16_presets_warn_on_a_t4_and_change_nothing(preset: str) -> None:
    trainer = compose_config([f"hardware={preset}"]).trainer
    decision = decide(trainer.precision, trainer.accelerator, MACHINES["t4"])
    assert str(decision.frozen) == "torch.bfloat16"
    assert decision.warning and "set trainer.precision=fp16" in decision.warning
