"""The wiring of the training step, and what the run watches about itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emote.config import Config
from emote.lora.adapter import attach, trainable
from emote.models import components
from emote.runs.identity import identity
from emote.training.callbacks.metrics import stuck_share
from emote.training.module import LoraModule, learning_rate_factor


@pytest.fixture
def module(tiny_sd: Path, make_config: Callable[..., Config]) -> LoraModule:
    return build(tiny_sd, make_config("experiment=smoke"))


def build(tiny_sd: Path, config: Config) -> LoraModule:
    unet = components.load_unet(tiny_sd)
    attach(unet, config.lora)
    return LoraModule(
        unet, components.load_scheduler(tiny_sd), torch.zeros(32, 16), config.trainer, config.seed
    ).train()


def batch(first: int = 0, size: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "mean": torch.randn(8, 4, 8, 8, generator=generator)[first : first + size],
        "logvar": torch.full((8, 4, 8, 8), -4.0)[first : first + size],
        "embedding": torch.randn(8, 32, 16, generator=generator)[first : first + size],
        "position": torch.arange(8)[first : first + size],
    }


def test_only_the_adapter_gets_gradients(module: LoraModule) -> None:
    module.training_step(batch(), 0).backward()
    with_gradient = {name for name, p in module.unet.named_parameters() if p.grad is not None}
    assert with_gradient == set(trainable(module.unet))


def test_a_step_is_a_function_of_its_batch(module: LoraModule) -> None:
    first = module.training_step(batch(), 0)
    torch.randn(100)  # the global generator's state does not matter
    assert torch.equal(module.training_step(batch(), 5), first)


def test_two_micro_batches_draw_what_one_batch_draws(module: LoraModule) -> None:
    whole = module.training_step(batch(0, 4), 0)
    halves = (module.training_step(batch(0, 2), 0) + module.training_step(batch(2, 2), 1)) / 2
    assert torch.allclose(whole, halves, rtol=1e-5)


def test_dropped_captions_are_the_empty_one(tiny_sd: Path, make_config: Callable[..., Config]) -> None:
    module = build(tiny_sd, make_config("experiment=smoke", **{"trainer.caption_dropout": 1.0}))
    other = batch() | {"embedding": torch.zeros(4, 32, 16)}
    assert torch.equal(module.training_step(batch(), 0), module.training_step(other, 0))


def test_min_snr_lowers_the_weight_of_easy_noise_levels(tiny_sd: Path, make_config: Callable[..., Config]) -> None:
    plain = build(tiny_sd, make_config("experiment=smoke")).training_step(batch(), 0)
    weighted = build(tiny_sd, make_config("experiment=smoke", **{"trainer.snr_gamma": 0.1})).training_step(batch(), 0)
    assert 0 < weighted < plain


@pytest.mark.parametrize("limit", [0.01, None])
def test_clipping_is_real_and_the_norm_before_it_is_kept(
    tiny_sd: Path, make_config: Callable[..., Config], limit: float | None
) -> None:
    module = build(tiny_sd, make_config("experiment=smoke", **{"trainer.max_grad_norm": limit}))
    module.training_step(batch(), 0).backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in trainable(module.unet).values() if p.grad is not None))
    module.configure_gradient_clipping(None)  # type: ignore[arg-type]
    after = math.sqrt(sum(float(p.grad.square().sum()) for p in trainable(module.unet).values() if p.grad is not None))
    assert module.grad_norm == pytest.approx(norm, rel=1e-5) and norm > 0.01
    assert after == pytest.approx(limit or norm, rel=1e-3)


def test_the_learning_rate_does_not_depend_on_how_far_a_run_goes(make_config: Callable[..., Config]) -> None:
    cosine = {"trainer.schedule": "cosine", "trainer.schedule_steps": 100, "trainer.warmup_steps": 4}
    short = make_config("experiment=smoke", **cosine, **{"trainer.max_steps": 10}).trainer
    long = make_config("experiment=smoke", **cosine, **{"trainer.max_steps": 90}).trainer
    factors = [learning_rate_factor(short, step) for step in range(101)]
    assert factors == [learning_rate_factor(long, step) for step in range(101)]
    assert factors[0] == 0.2 and factors[4] == 1.0 and factors[100] == pytest.approx(0) and max(factors) == 1.0


@pytest.mark.parametrize(("dtype", "low", "high"), [("bfloat16", 0.3, 1.0), ("float32", 0.0, 0.01)])
def test_a_bfloat16_adapter_is_seen_to_be_stuck(
    tiny_sd: Path, make_config: Callable[..., Config], dtype: str, low: float, high: float
) -> None:
    config = make_config("experiment=smoke", **{"lora.dtype": dtype, "trainer.learning_rate": 1e-4})
    module = build(tiny_sd, config)
    optimizer = torch.optim.AdamW(trainable(module.unet).values(), lr=1e-4)
    for step in range(3):
        before = {name: p.detach().clone() for name, p in trainable(module.unet).items()}
        module.training_step(batch(4 * (step % 2)), 0).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert low <= stuck_share(before, trainable(module.unet)) <= high


def test_a_linear_schedule_falls_evenly(make_config: Callable[..., Config]) -> None:
    linear = {"trainer.schedule": "linear", "trainer.schedule_steps": 10}
    trainer = make_config("experiment=smoke", **linear).trainer
    assert [learning_rate_factor(trainer, step) for step in (0, 5, 10, 12)] == pytest.approx([1, 0.5, 0, 0])


def test_a_horizon_of_max_steps_is_a_number_before_the_identity_is_taken(make_config: Callable[..., Config]) -> None:
    short, long = (
        make_config("experiment=smoke", **{"trainer.schedule_steps": "max_steps", "trainer.max_steps": steps})
        for steps in (10, 20)
    )
    assert (short.trainer.schedule_steps, long.trainer.schedule_steps) == (10, 20)
    assert identity(short, "data", {}) != identity(long, "data", {})
