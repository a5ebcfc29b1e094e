from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from emote.tools.pretraining.art_set import ArtSet, to_unit
from emote.tools.pretraining.vae import build_vae, reconstruction_loss, standardise_latents


@pytest.fixture(scope="module")
def art() -> ArtSet:
    """Eight images of coloured blocks."""
    blocks = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    pixels = blocks.repeat(8, axis=1).repeat(8, axis=2)
    return ArtSet(
        pixels=pixels,
        coloured=pixels,
        names=[f"block {i}" for i in range(8)],
        aliases=[()] * 8,
        style=["openmoji", "twemoji"] * 4,
        weight=torch.ones(8),
        held_out=torch.zeros(8, dtype=torch.bool),
    )


@pytest.fixture
def vae() -> Any:
    torch.manual_seed(4)
    return build_vae().requires_grad_(False).eval()


@torch.no_grad()
def test_standardised_latents_have_mean_zero_and_variance_one_per_channel(vae: Any, art: ArtSet) -> None:
    standardise_latents(vae, art, torch.arange(8))
    mean = vae.encode(to_unit(art.pixels)).latent_dist.mean
    torch.testing.assert_close(mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


@torch.no_grad()
def test_standardising_changes_no_image(vae: Any, art: ArtSet) -> None:
    pixels = to_unit(art.pixels)
    noise = torch.randn(8, 4, 16, 16)
    before = vae.encode(pixels).latent_dist
    shown, sampled = vae.decode(before.mean).sample, vae.decode(before.mean + before.std * noise).sample
    standardise_latents(vae, art, torch.arange(8))
    after = vae.encode(pixels).latent_dist
    assert float((after.mean - before.mean).abs().max()) > 0.1
    torch.testing.assert_close(vae.decode(after.mean).sample, shown, atol=1e-4, rtol=0)
    torch.testing.assert_close(vae.decode(after.mean + after.std * noise).sample, sampled, atol=1e-4, rtol=0)


@torch.no_grad()
def test_latents_that_are_standard_already_stay_as_they_are(vae: Any, art: ArtSet) -> None:
    standardise_latents(vae, art, torch.arange(8))
    once = vae.encode(to_unit(art.pixels)).latent_dist.mean
    standardise_latents(vae, art, torch.arange(8))
    torch.testing.assert_close(vae.encode(to_unit(art.pixels)).latent_dist.mean, once, atol=1e-3, rtol=0)


def test_a_pipeline_needs_neither_scale_nor_shift_for_the_latents(vae: Any) -> None:
    assert vae.config.scaling_factor == 1.0 and not vae.config.shift_factor


def test_a_wrong_colour_costs_once_and_a_wrong_border_twice() -> None:
    target = torch.zeros(1, 3, 4, 4)
    assert float(reconstruction_loss(target, target)) == 0
    assert float(reconstruction_loss(target + 0.5, target)) == 0.5
    half = target.clone()
    half[..., 2:] = 0.5  # mean error 1/4, and of three horizontal differences one is 1/2
    assert float(reconstruction_loss(half, target)) == pytest.approx(0.25 + 0.5 / 3)
