"""Nested ranks: what they compute, what they learn from, and that each rank's file is that rank's adapter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from emote.config import NestedBy
from emote.lora.adapter import attach, load_adapter_state, trainable
from emote.lora.formats import DIFFUSERS_FILE, take_out, write_diffusers, write_kohya
from emote.lora.nested import Nested, diagonal_of_rank, lora_of_rank, mean_diagonal, rank_at, truncated
from tests.models.helpers import answer, fresh_unet, learn, lora_config

RANKS = [1, 3, 8]
SETTINGS: list[dict[str, Any]] = [
    {"targets": "all", "alpha": 8.0},
    {"targets": "attention", "alpha": 4.0},
    {"targets": "attention_ff", "alpha": 8.0, "variant": "rslora"},
]


def nested_config(**changes: Any) -> Any:
    return lora_config(**{"rank": 8, "alpha": 8.0, "nested": RANKS, **changes})


def learned(tiny_sd: Path, lora: Any) -> tuple[Any, Nested]:
    unet = fresh_unet(tiny_sd)
    attach(unet, lora)
    learn(unet)
    return unet.eval(), Nested(unet, lora)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("changes", SETTINGS)
def test_the_first_components_compute_what_a_separate_adapter_does(tiny_sd: Path, changes: dict[str, Any]) -> None:
    lora = nested_config(**changes)
    unet, nested = learned(tiny_sd, lora)
    whole = answer(unet)
    for rank in RANKS:
        alone = fresh_unet(tiny_sd)
        attach(alone, lora_of_rank(lora, rank))
        ends = {name: (p[:, :rank] if ".lora_B." in name else p[:rank]) for name, p in trainable(unet).items()}
        load_adapter_state(alone, {name: tensor.detach() for name, tensor in ends.items()})
        with nested.only(rank):
            assert relative(answer(unet), answer(alone.eval())) <= 5e-6
            assert rank == 8 or relative(answer(unet), whole) > 1e-3
    assert torch.equal(answer(unet), whole)  # outside it is all of the adapter again


@pytest.mark.parametrize("changes", SETTINGS)
def test_stock_diffusers_draws_each_rank_from_both_files(
    tiny_sd: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    lora = nested_config(**changes)
    unet, nested = learned(tiny_sd, lora)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    for rank in RANKS:
        adapter = truncated(take_out(unet, lora), lora, rank)
        assert {layer.rank for layer in adapter.layers.values()} == {rank}
        files = [write_diffusers(adapter, tmp_path / DIFFUSERS_FILE), write_kohya(adapter, tmp_path / "k.safetensors")]
        with nested.only(rank):
            wanted = answer(unet)
        for file in files:
            pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
            assert relative(answer(pipeline.unet), wanted) <= 5e-6
            pipeline.unload_lora_weights()


def test_the_scale_of_a_rank_is_that_of_a_run_whose_alpha_follows() -> None:
    assert diagonal_of_rank(nested_config(), 3) == [1.0] * 3 + [0.0] * 5
    assert [lora_of_rank(nested_config(alpha=4.0), rank).alpha for rank in RANKS] == [0.5, 1.5, 4.0]
    stabilised = diagonal_of_rank(nested_config(variant="rslora"), 3)  # √3 of √8
    assert stabilised == pytest.approx([(3 / 8) ** 0.5] * 3 + [0.0] * 5)
    assert mean_diagonal(nested_config()) == pytest.approx([1.0, 2 / 3, 2 / 3, *[1 / 3] * 5])


def test_each_component_starts_as_in_a_separate_run_of_the_smallest_rank_that_has_it(tiny_sd: Path) -> None:
    lora = nested_config()
    unet = fresh_unet(tiny_sd)
    attach(unet, lora)
    spread_NR = torch.stack([p.std(dim=1) for name, p in trainable(unet).items() if ".lora_A." in name])
    assert spread_NR.mean(dim=0).tolist() == pytest.approx([1, 1 / 3, 1 / 3, *[1 / 8] * 5], rel=0.15)


@pytest.mark.parametrize("changes", SETTINGS)
def test_the_gradient_is_that_of_the_mean_written_out(tiny_sd: Path, changes: dict[str, Any]) -> None:
    lora = nested_config(**changes)
    unet, _ = learned(tiny_sd, lora)
    unet.double().train()
    generator = torch.Generator().manual_seed(3)
    names = {name.removesuffix(".lora_A.default.weight") for name in trainable(unet) if ".lora_A." in name}
    for name in sorted(names)[:: max(1, len(names) // 6)]:
        layer = unet.get_submodule(name)
        base, down, up = layer.get_base_layer(), layer.lora_A["default"], layer.lora_B["default"]
        is_conv = isinstance(base, nn.Conv2d)
        shape = (2, base.in_channels, 5, 5) if is_conv else (2, 3, base.in_features)
        x = torch.randn(shape, dtype=torch.float64, generator=generator)
        layer(x).square().sum().backward()
        A, B = (p.weight.detach().clone().requires_grad_() for p in (down, up))
        written = base(x)
        for rank in RANKS:
            scale = 8**0.5 * (rank / 8) ** 0.5 if lora.variant == "rslora" else lora.alpha / 8
            if is_conv:
                hidden = nn.functional.conv2d(x, A[:rank], None, down.stride, down.padding)
                change = nn.functional.conv2d(hidden, B[:, :rank])
            else:
                change = x @ A[:rank].T @ B[:, :rank].T
            written = written + scale * change / len(RANKS)
        written.square().sum().backward()
        assert max(relative(down.weight.grad, A.grad), relative(up.weight.grad, B.grad)) < 2e-7  # of 1/3 in float32


def test_a_drawn_rank_is_a_function_of_the_seed_and_the_step_and_trains_its_components_alone(tiny_sd: Path) -> None:
    lora = nested_config(nested_by=NestedBy.draw)
    drawn = Counter(rank_at(lora, 0, step) for step in range(300))
    assert set(drawn) == set(RANKS) and min(drawn.values()) > 70
    assert [rank_at(lora, 1, step) for step in range(20)] != [rank_at(lora, 0, step) for step in range(20)]
    unet, nested = learned(tiny_sd, lora)
    unet.train()
    step = next(step for step in range(300) if rank_at(lora, 0, step) == 3)
    nested.at_step(0, step)
    generator = torch.Generator().manual_seed(7)
    latents, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 6, 16, generator=generator)
    unet(latents, torch.tensor([10, 700]), context).sample.square().sum().backward()
    for name, parameter in trainable(unet).items():
        gradient_R = parameter.grad.flatten(1).norm(dim=1) if ".lora_A." in name else parameter.grad.norm(dim=0)
        assert (gradient_R[:3] > 0).all() and (gradient_R[3:] == 0).all()
