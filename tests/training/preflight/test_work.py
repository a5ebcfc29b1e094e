from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emote.data.prepared import encoded_at_once
from emote.lora.adapter import attach, trainable
from emote.models import components
from emote.models.single_file import PUBLISHED
from emote.training.preflight.work import Work, count_work
from emote.util.errors import ConfigError
from tests.models.helpers import lora_config

SD15 = PUBLISHED / "sd15"


def counted(base: Path, resolution: int, rows: int = 4, dtype: torch.dtype = torch.float32, **keywords: Any) -> Work:
    return count_work(base, lora_config(), resolution, rows, dtype, **keywords)


def test_a_real_step_computes_what_was_counted(tiny_sd: Path) -> None:
    work = counted(tiny_sd, 32)
    unet = components.load_unet(tiny_sd)
    attach(unet, lora_config())
    unet.train()
    # the fused kernel of CPUs is unknown to torch's counter; going back, the plain one needs one product less
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        unet(torch.randn(4, 4, 8, 8), torch.arange(4), torch.randn(4, 32, 16)).sample.square().mean().backward()
    assert work.step.flops == pytest.approx(counter.get_total_flops(), rel=0.04)
    assert work.trainable == sum(p.numel() for p in trainable(unet).values())
    assert work.frozen == sum(p.numel() for p in unet.parameters()) - work.trainable
    assert (work.latent_shape, work.text_shape) == ((4, 8, 8), (32, 16))
    vae = components.load_vae(tiny_sd)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        vae.encode(torch.zeros(encoded_at_once(32), 3, 32, 32))
    assert work.encode_flops * encoded_at_once(32) == pytest.approx(counter.get_total_flops(), rel=0.02)
    encoder = components.load_text_encoder(tiny_sd)
    weights = 4 * work.frozen + 16 * work.trainable
    assert work.memory["train"] == int(1.05 * (weights + work.step.peak_bytes))
    assert work.memory["sample"] > 1.05 * (weights + 4 * sum(p.numel() for p in vae.parameters()))
    assert work.memory["cache"] > 1.05 * 4 * sum(p.numel() for p in encoder.parameters())


def test_the_step_of_stable_diffusion_15_costs_what_is_known_of_it() -> None:
    work = counted(SD15, 256, rows=8, dtype=torch.float16)
    assert work.modules == 128 and work.trainable == 797_184 and work.frozen == 859_520_964
    assert work.forward_flops / 1e9 == pytest.approx(180, rel=0.02)  # of one image
    assert work.step.flops / 8e9 == pytest.approx(180 + 182, rel=0.03)
    assert work.encode_flops / 1e9 == pytest.approx(273, rel=0.01)
    assert work.caption_flops / 1e9 == pytest.approx(13, rel=0.02)
    weights = 2 * work.frozen + 16 * work.trainable
    assert (weights + work.step.peak_bytes) / 2**30 == pytest.approx(3.9, rel=0.1)


def test_activations_grow_with_the_rows_and_shrink_with_checkpointing(tiny_sd: Path) -> None:
    one, four = counted(tiny_sd, 32, rows=1), counted(tiny_sd, 32, rows=4)
    assert four.step.flops == pytest.approx(4 * one.step.flops, rel=0.02)
    assert 3 < four.step.peak_bytes / one.step.peak_bytes < 4.2
    less = counted(tiny_sd, 32, checkpointing=True)
    assert less.step.peak_bytes < 0.7 * four.step.peak_bytes
    assert 1.2 < less.step.flops / four.step.flops < 1.6


def test_no_weight_is_read(tmp_path: Path) -> None:
    assert not list(SD15.rglob("*.safetensors"))
    assert counted(SD15, 64, rows=1).frozen > 8e8


def test_targets_and_starting_point_are_checked_before_weights_are_read(tiny_sd: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="conv_shortcut"):  # the tiny model has none in its middle
        count_work(tiny_sd, lora_config(targets=["conv_shortcut", "mid_block.conv_shortcut"]), 32, 1, torch.float32)
    with pytest.raises(ConfigError, match=r"lora\.init_from"):
        count_work(tiny_sd, lora_config(init_from=str(tmp_path / "missing")), 32, 1, torch.float32)
