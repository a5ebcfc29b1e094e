from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from emote.config import TARGET_PRESETS, AdapterDtype, Init
from emote.lora.adapter import adapter_state, attach, load_adapter_state, trainable, without_adapter
from emote.util.errors import ConfigError
from tests.models.helpers import PRESETS, answer, fresh_unet, learn, lora_config, sd15_unet

ATTENTION = {f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")}
FEED_FORWARD = {"ff.net.0.proj", "ff.net.2"}
EXPECTED = {"attention": ATTENTION, "attention_ff": ATTENTION | FEED_FORWARD}


@pytest.fixture(scope="module")
def sd15() -> UNet2DConditionModel:
    return sd15_unet()


@pytest.fixture
def unet(tiny_sd: Path) -> UNet2DConditionModel:
    return fresh_unet(tiny_sd)


def targeted(unet: Any, preset: str) -> list[str]:
    names = TARGET_PRESETS[preset]
    return [n for n, _ in unet.named_modules() if any(n == name or n.endswith(f".{name}") for name in names)]


def test_presets_match_the_modules_of_sd15(sd15: Any) -> None:
    assert {preset: len(targeted(sd15, preset)) for preset in PRESETS} == {
        "attention": 128, "attention_ff": 160, "all": 278,
    }  # fmt: skip
    every = {n for n, m in sd15.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
    assert every - set(targeted(sd15, "all")) == {
        "conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2",
    }  # fmt: skip
    for name in TARGET_PRESETS["all"]:
        assert any(n.endswith(f".{name}") for n in every), name


def test_the_target_conv_is_the_down_and_up_samplers_alone(sd15: Any) -> None:
    found = [n for n in targeted(sd15, "all") if n.endswith(".conv")]
    assert len(found) == 6
    assert all(n.split(".")[2] in ("downsamplers", "upsamplers") for n in found)


def test_rank_4_on_attention_of_sd15_is_797184_parameters_in_256_tensors() -> None:
    unet = sd15_unet()
    assert len(attach(unet, lora_config())) == 256
    assert sum(parameter.numel() for parameter in trainable(unet).values()) == 797_184


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_trains_two_matrices_of_each_of_its_modules(unet: Any, preset: str) -> None:
    modules = targeted(unet, preset)
    names = attach(unet, lora_config(targets=preset))
    assert names == sorted(f"{m}.lora_{part}.default.weight" for m in modules for part in "AB")
    assert names == list(trainable(unet))
    if preset in EXPECTED:
        assert {m.split("transformer_blocks.0.")[1] for m in modules} == EXPECTED[preset]
    else:
        assert len(modules) > len(targeted(unet, "attention_ff"))


def test_frozen_weights_have_no_gradient(unet: Any) -> None:
    names = set(attach(unet, lora_config(targets="all")))
    learn(unet)
    out = unet(torch.randn(1, 4, 8, 8), torch.tensor([3]), torch.randn(1, 6, 16)).sample
    out.square().mean().backward()
    assert {name for name, p in unet.named_parameters() if p.requires_grad} == names
    assert {name for name, p in unet.named_parameters() if p.grad is not None} == names
    assert not unet.training


def test_an_unknown_target_is_named_with_its_nearest(unet: Any) -> None:
    with pytest.raises(ConfigError, match=r"nonsense.*tu_q \(nearest: to_q"):
        attach(unet, lora_config(targets=["to_k", "nonsense", "tu_q"]))
    assert not trainable(unet)


def test_a_target_must_be_a_layer_that_lora_can_wrap(unet: Any) -> None:
    with pytest.raises(ConfigError, match="norm1"):
        attach(unet, lora_config(targets=["norm1"]))


def test_the_adapter_starts_from_its_seed_alone(tiny_sd: Path) -> None:
    states = []
    for global_seed, dtype, targets in ((1, torch.float32, "attention"), (2, torch.float16, "attention_ff")):
        unet = fresh_unet(tiny_sd, dtype)
        torch.manual_seed(global_seed)
        expected_next = torch.rand(1, generator=torch.Generator().manual_seed(global_seed))
        attach(unet, lora_config(targets=targets))
        assert torch.equal(torch.rand(1), expected_next)  # nor is torch's state touched
        states.append(adapter_state(unet))
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    other = fresh_unet(tiny_sd)
    attach(other, lora_config(seed=43))
    a_names = [name for name in states[0] if "lora_A" in name]
    assert not any(torch.equal(states[0][name], adapter_state(other)[name]) for name in a_names)
    first = [states[0][name].flatten()[:8] for name in a_names]
    assert not any(torch.equal(first[0], weight) for weight in first[1:])  # each module draws its own


@pytest.mark.parametrize(("init", "spread"), [(Init.gaussian, 1 / 4), (Init.kaiming, (1 / 3 / 16) ** 0.5)])
def test_the_adapter_starts_with_the_init_that_is_asked_and_b_zero(unet: Any, init: Init, spread: float) -> None:
    plain = answer(unet)
    attach(unet, lora_config(init=init))
    state = adapter_state(unet)
    assert all(not w.any() for n, w in state.items() if "lora_B" in n)
    # context projections have 16 inputs, whatever the block
    drawn = torch.cat([w.flatten() for n, w in state.items() if "attn2.to_k.lora_A" in n])
    assert float(drawn.std()) == pytest.approx(spread, rel=0.15)
    assert torch.equal(answer(unet), plain)


@pytest.mark.parametrize("frozen", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", list(AdapterDtype))
def test_the_adapter_has_its_own_dtype(tiny_sd: Path, frozen: torch.dtype, dtype: AdapterDtype) -> None:
    unet = fresh_unet(tiny_sd, frozen)
    names = attach(unet, lora_config(dtype=dtype))
    kinds = {n in names: p.dtype for n, p in unet.named_parameters()}
    assert kinds == {True: getattr(torch, dtype.value), False: frozen}


def test_half_precision_frozen_weights_compute_with_a_float32_adapter(tiny_sd: Path) -> None:
    unet = fresh_unet(tiny_sd, torch.bfloat16)
    attach(unet, lora_config())
    learn(unet)
    out = unet(
        torch.randn(1, 4, 8, 8, dtype=torch.bfloat16), torch.tensor([3]), torch.randn(1, 6, 16, dtype=torch.bfloat16)
    ).sample
    out.float().square().mean().backward()
    assert out.dtype is torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in trainable(unet).values())


@pytest.mark.parametrize("preset", PRESETS)
def test_without_the_adapter_the_unet_is_the_base_model_bit_for_bit(unet: Any, preset: str) -> None:
    plain = answer(unet)
    attach(unet, lora_config(targets=preset))
    learn(unet)
    adapted = answer(unet)
    assert not torch.equal(adapted, plain)
    with without_adapter(unet):
        assert torch.equal(answer(unet), plain)
        with without_adapter(unet):
            pass
        assert torch.equal(answer(unet), plain)  # the outer one still holds
    assert torch.equal(answer(unet), adapted)
    assert all(p.requires_grad for p in trainable(unet).values())


def test_without_adapter_ends_with_an_exception_too(unet: Any) -> None:
    attach(unet, lora_config())
    learn(unet)
    adapted = answer(unet)
    with pytest.raises(RuntimeError), without_adapter(unet):
        raise RuntimeError
    assert torch.equal(answer(unet), adapted)


def test_dropout_acts_in_training_mode_alone(unet: Any) -> None:
    attach(unet, lora_config(dropout=0.5))
    learn(unet)
    assert torch.equal(answer(unet), answer(unet))
    unet.train()
    assert not torch.equal(answer(unet), answer(unet))


def test_the_state_goes_out_and_in_unchanged(tiny_sd: Path) -> None:
    one, two = fresh_unet(tiny_sd), fresh_unet(tiny_sd)
    for unet in (one, two):
        attach(unet, lora_config(targets="all"))
    learn(one)
    state = adapter_state(one)
    load_adapter_state(two, state)
    assert torch.equal(answer(one), answer(two))
    learn(one, scale=0.1)
    assert not torch.equal(state[next(iter(state))], adapter_state(one)[next(iter(state))])  # a copy, not a view


def test_a_state_that_does_not_fit_changes_nothing(unet: Any) -> None:
    attach(unet, lora_config())
    state = adapter_state(unet)
    first, *rest = state
    learn(unet)
    before = answer(unet)
    wrong: dict[str, dict[str, torch.Tensor]] = {
        "lacks": {name: state[name] for name in rest},
        "has unknown": state | {"down_blocks.9.lora_A.default.weight": torch.zeros(1)},
        "has other shapes": state | {first: torch.zeros(8, 16)},
    }
    for what, bad in wrong.items():
        with pytest.raises(ConfigError, match=what) as caught:
            load_adapter_state(unet, bad)
        assert first in str(caught.value) or "down_blocks.9" in str(caught.value)
        assert torch.equal(answer(unet), before)
