from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.tools.pretraining.art_set import STYLES, ArtSet, to_unit
from emote.tools.pretraining.loop import Draw, Span
from emote.tools.pretraining.vae import (
    build_vae,
    encode_art,
    measure_error,
    reconstruct,
    reconstruction_loss,
    standardise_latents,
    train_decoder,
    train_vae,
)


@pytest.fixture
def vae() -> Any:
    torch.manual_seed(4)
    return build_vae().requires_grad_(False).eval()


@torch.no_grad()
def test_standardised_latents_have_mean_zero_and_variance_one_per_channel(vae: Any, art: ArtSet) -> None:
    rows = torch.arange(len(art.name_N))
    standardise_latents(vae, art, rows)
    mean, _ = encode_art(vae, art, rows)
    assert mean.shape[1:] == (4, 16, 16)
    torch.testing.assert_close(mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)


@torch.no_grad()
def test_standardising_changes_no_picture(vae: Any, art: ArtSet) -> None:
    rows = torch.arange(4)
    images, noise = to_unit(art.rgba_N4HW[rows]), torch.randn(4, 4, 16, 16)
    before = vae.encode(images).latent_dist
    shown, sampled = vae.decode(before.mean).sample, vae.decode(before.mean + before.std * noise).sample
    standardise_latents(vae, art, rows)
    after = vae.encode(images).latent_dist
    assert float((after.mean - before.mean).abs().max()) > 0.1
    torch.testing.assert_close(vae.decode(after.mean).sample, shown, atol=1e-3, rtol=0)
    torch.testing.assert_close(vae.decode(after.mean + after.std * noise).sample, sampled, atol=1e-3, rtol=0)


def test_a_pipeline_needs_neither_scale_nor_shift_for_the_latents(vae: Any) -> None:
    assert vae.config.scaling_factor == 1.0 and not vae.config.shift_factor


def test_a_wrong_colour_costs_its_areas_and_a_wrong_border_more() -> None:
    target = torch.zeros(1, 3, 16, 16)
    assert float(reconstruction_loss(target, target)) == 0
    assert float(reconstruction_loss(target + 0.5, target)) == pytest.approx(0.5 * (1 + 3 + 1))
    half = target.clone()
    half[..., 8:] = 0.5  # mean error 1/4 at each size, and of fifteen horizontal differences one is 1/2
    assert float(reconstruction_loss(half, target)) == pytest.approx(0.25 * 5 + 0.5 / 15)


def test_the_error_is_that_of_the_reconstruction(vae: Any, art: ArtSet) -> None:
    rows = torch.arange(2)
    images = to_unit(art.rgba_N4HW[rows])
    expected = float((reconstruct(vae, images) - images).abs().mean() / 2)
    assert measure_error(vae, art, rows) == pytest.approx(expected, rel=1e-5)


def test_a_few_steps_lower_the_loss(art: ArtSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emote.tools.pretraining.loop.LOG_EVERY_SECONDS", 0.0)
    options = {"batch": 2, "work": tmp_path, "seed": 0, "dtype": torch.float32, "learning_rate": 3e-2}
    rows = art.trained_N.nonzero().flatten()
    torch.manual_seed(0)
    before = measure_error(build_vae().eval(), art, rows)
    vae, fitted = train_vae(art, span=Span(steps=12), **options)
    assert fitted.steps == 12 and measure_error(vae, art, rows) < before


def test_the_decoder_learns_alone_and_latents_stay(art: ArtSet, tmp_path: Path, vae: Any) -> None:
    rows = art.trained_N.nonzero().flatten()
    latents, error = encode_art(vae, art, rows)[0], measure_error(vae, art, rows)
    decoder = vae.decoder.conv_out.weight.clone()
    train_decoder(vae, art, span=Span(steps=8), batch=2, learning_rate=1e-2, work=tmp_path, seed=0, dtype=torch.float32)
    assert torch.equal(encode_art(vae, art, rows)[0], latents)
    assert not torch.equal(vae.decoder.conv_out.weight, decoder) and measure_error(vae, art, rows) < error
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_the_decoder_sees_the_blobs_but_never_openmoji(
    art: ArtSet, tmp_path: Path, vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    choice = Draw.choice
    monkeypatch.setattr(
        Draw, "choice", lambda draw, weights, count: seen.append(weights) or choice(draw, weights, count)
    )
    style_N = torch.where(art.style_N == STYLES.index("noto"), STYLES.index("blob"), art.style_N)
    as_blobs = replace(art, style_N=style_N)
    options: dict[str, Any] = {"batch": 2, "learning_rate": 1e-3, "work": tmp_path, "seed": 0, "dtype": torch.float32}
    train_decoder(vae, as_blobs, span=Span(steps=1), **options)
    allowed = as_blobs.trained_N | (as_blobs.style_N == STYLES.index("blob"))
    assert len(seen[0]) == int(allowed.sum()) < len(art.style_N)
    assert not bool((allowed & (as_blobs.style_N == STYLES.index("openmoji"))).any())
