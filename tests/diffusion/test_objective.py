from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from emote.diffusion import objective

SHAPE = (4, 8, 8)
TYPES = ("epsilon", "v_prediction")


@pytest.fixture(scope="module")
def scheduler() -> DDPMScheduler:
    """SD 1.5's."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def pair(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and noise."""
    return objective.normal("latents", 1, 0, range(count), SHAPE), objective.noise(1, 0, range(count), SHAPE)


def test_splitting_a_batch_draws_the_same_rows() -> None:
    whole = objective.noise(42, 7, range(8), SHAPE)
    parts = [objective.noise(42, 7, rows, SHAPE) for rows in ([0, 1, 2], [3], [4, 5, 6, 7])]
    assert torch.equal(torch.cat(parts), whole)
    timesteps = objective.timesteps(42, 7, range(8), 1000)
    assert torch.equal(torch.cat([objective.timesteps(42, 7, [n], 1000) for n in range(8)]), timesteps)


def test_what_was_drawn_before_changes_nothing() -> None:
    first = objective.noise(42, 7, [3], SHAPE)
    torch.manual_seed(99)
    objective.noise(42, 6, range(20), SHAPE)
    assert torch.equal(objective.noise(42, 7, [3], SHAPE), first)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    state = torch.get_rng_state()
    objective.noise(1, 2, [3], SHAPE)
    objective.timesteps(1, 2, [3], 1000)
    assert torch.equal(torch.get_rng_state(), state)


def test_purposes_seeds_steps_and_positions_draw_different_numbers() -> None:
    drawn = [
        objective.normal(purpose, seed, step, [position], (4,))
        for purpose in ("noise", "posterior")
        for seed in (1, 2)
        for step in (0, 1)
        for position in (0, 1)
    ]
    assert len({tuple(row.flatten().tolist()) for row in drawn}) == len(drawn)
    numbers = [float(objective.uniform(purpose, 1, 0, [0])) for purpose in ("timestep", "caption", "noise")]
    assert len(set(numbers)) == 3


def test_noise_is_standard_normal_and_rows_are_independent() -> None:
    rows = objective.noise(42, 3, range(64), (4, 16, 16)).flatten(1)
    assert rows.dtype is torch.float32
    assert abs(float(rows.mean())) < 0.02 and abs(float(rows.std()) - 1) < 0.02
    assert abs(float((rows.abs() < 1).float().mean()) - 0.6827) < 0.01
    correlation = torch.corrcoef(rows) - torch.eye(64)
    assert float(correlation.abs().max()) < 0.16  # five of its standard deviations, 1 / sqrt(1024)


def test_timesteps_are_uniform_within_their_range() -> None:
    drawn = objective.timesteps(42, 0, range(10_000), 1000)
    assert drawn.dtype is torch.int64 and int(drawn.min()) >= 0 and int(drawn.max()) <= 999
    assert all(abs(int(count) - 1000) < 150 for count in torch.bincount(drawn // 100, minlength=10))
    assert len(set(drawn.tolist())) > 990
    assert set(objective.timesteps(42, 0, range(50), 1).tolist()) == {0}


def test_even_the_largest_key_is_a_number_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "key_seed", lambda *_: 2**63 - 1)
    assert float(objective.uniform("timestep", 0, 0, [0])) < 1
    assert int(objective.timesteps(0, 0, [0], 1000)) == 999


def test_noise_is_added_as_diffusers_adds_it(scheduler: DDPMScheduler) -> None:
    latents, noise = pair()
    timesteps = torch.tensor([0, 1, 250, 500, 998, 999])
    ours = objective.add_noise(latents, noise, timesteps, scheduler.alphas_cumprod)
    assert torch.equal(ours, scheduler.add_noise(latents, noise, timesteps))


def test_the_target_is_the_noise_or_diffusers_velocity(scheduler: DDPMScheduler) -> None:
    latents, noise = pair()
    timesteps = torch.tensor([0, 1, 250, 500, 998, 999])
    alphas = scheduler.alphas_cumprod
    assert torch.equal(objective.target(latents, noise, timesteps, alphas, "epsilon"), noise)
    velocity = objective.target(latents, noise, timesteps, alphas, "v_prediction")
    assert torch.equal(velocity, scheduler.get_velocity(latents, noise, timesteps))


def test_an_unknown_prediction_type_is_refused(scheduler: DDPMScheduler) -> None:
    latents, noise = pair(1)
    with pytest.raises(ValueError, match="prediction_type must be epsilon or v_prediction, got sample"):
        objective.target(latents, noise, torch.tensor([5]), scheduler.alphas_cumprod, "sample")


@pytest.mark.parametrize("prediction_type", TYPES)
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_follow_the_paper(scheduler: DDPMScheduler, gamma: float, prediction_type: str) -> None:
    timesteps = torch.arange(0, 1000, 37)
    weights = objective.min_snr_weight(timesteps, scheduler.alphas_cumprod, gamma, prediction_type)
    for weight, snr in zip(weights.tolist(), compute_snr(scheduler, timesteps).tolist(), strict=True):
        below = snr if prediction_type == "epsilon" else snr + 1
        assert math.isclose(weight, min(snr, gamma) / below, rel_tol=1e-4)
    assert weights.dtype is torch.float32


@pytest.mark.parametrize("prediction_type", TYPES)
def test_without_gamma_every_timestep_counts_the_same(scheduler: DDPMScheduler, prediction_type: str) -> None:
    weights = objective.min_snr_weight(torch.tensor([0, 500, 999]), scheduler.alphas_cumprod, None, prediction_type)
    assert weights.tolist() == [1, 1, 1]


def test_no_captions_are_dropped_or_all_of_them() -> None:
    captions, empty = torch.randn(50, 3, 2), torch.zeros(3, 2)
    assert torch.equal(objective.drop_captions(captions, empty, 0.0, 42, 0, range(50)), captions)
    assert torch.equal(objective.drop_captions(captions, empty, 1.0, 42, 0, range(50)), empty.expand(50, 3, 2))


def test_about_the_asked_share_of_captions_is_dropped_each_wholly() -> None:
    captions, empty = torch.ones(3000, 2, 2), torch.zeros(2, 2)
    kept = objective.drop_captions(captions, empty, 0.1, 42, 0, range(3000)).flatten(1)
    assert torch.equal(kept.amin(dim=1), kept.amax(dim=1))
    assert abs(float((kept[:, 0] == 0).float().mean()) - 0.1) < 0.02


def test_a_caption_is_dropped_by_its_position_alone() -> None:
    captions, empty = torch.ones(20, 1, 1), torch.zeros(1, 1)
    whole = objective.drop_captions(captions, empty, 0.5, 42, 3, range(20))
    parts = [objective.drop_captions(captions[:10], empty, 0.5, 42, 3, range(n, n + 10)) for n in (0, 10)]
    assert torch.equal(torch.cat(parts), whole)
    assert 0 < int(whole.sum()) < 20


def test_dropping_captions_keeps_their_dtype() -> None:
    captions = torch.ones(4, 2, 2, dtype=torch.bfloat16)
    assert objective.drop_captions(captions, torch.zeros(2, 2), 0.5, 42, 0, range(4)).dtype is torch.bfloat16


def test_the_posterior_is_sampled_with_its_mean_and_spread() -> None:
    mean, logvar = torch.full((64, 4, 16, 16), 2.0), torch.full((64, 4, 16, 16), math.log(0.25))
    drawn = objective.sample_posterior(mean, logvar, 42, 0, range(64))
    assert abs(float(drawn.mean()) - 2) < 0.01 and abs(float(drawn.std()) - 0.5) < 0.01


def test_each_step_draws_a_fresh_sample_of_the_posterior() -> None:
    mean, logvar = torch.zeros(2, *SHAPE), torch.zeros(2, *SHAPE)
    first = objective.sample_posterior(mean, logvar, 42, 0, [0, 1])
    assert not torch.equal(first, objective.sample_posterior(mean, logvar, 42, 1, [0, 1]))
    assert not torch.equal(first, objective.noise(42, 0, [0, 1], SHAPE))
    certain = objective.sample_posterior(first, torch.full_like(first, -60.0), 42, 0, [0, 1])
    torch.testing.assert_close(certain, first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_errors_are_computed_in_float32_whatever_the_unet_computes_in(dtype: torch.dtype) -> None:
    predicted = torch.full((2, *SHAPE), 300.0, dtype=dtype)  # its square is too large for float16
    error = objective.squared_error(predicted, torch.zeros(2, *SHAPE, dtype=dtype))
    assert error.dtype is torch.float32
    assert error.tolist() == [float(predicted[0, 0, 0, 0]) ** 2] * 2


def test_there_is_one_error_a_sample() -> None:
    wanted = torch.zeros(3, *SHAPE)
    predicted = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None].expand(3, *SHAPE)
    assert objective.squared_error(predicted, wanted).tolist() == [0, 1, 4]
