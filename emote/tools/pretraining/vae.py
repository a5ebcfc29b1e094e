"""The autoencoder: 128×128 RGB to 16×16 latents of 4 channels, on the trained styles alone."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from emote.tools.pretraining.art_set import STYLES, TONE_WEIGHT, ArtSet, to_unit
from emote.tools.pretraining.augment import lay_on_background, outline, recolour
from emote.tools.pretraining.loop import Draw, Fitted, Losses, Span, fit

KL_WEIGHT = 1.5e-3  # per latent element: enough to keep the latents smooth and near zero mean
EDGE_WEIGHT = 1.0  # emoji are flat areas with sharp borders: the borders are what one sees
AREA_WEIGHT = 3.0  # colours of areas come late without a term of their own
DECODER_ALSO = ("blob", "emojione")  # the decoder's own stage sees these too
SCALED_WEIGHT = 0.25  # of the half-size reconstructions in the loss


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(24, 48, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=1.0,
    )


def reconstruction_loss(output_B3HW: torch.Tensor, target_B3HW: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of pixels, of their differences, and of the means of 2×2 and 8×8 areas."""
    error = output_B3HW - target_B3HW
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    areas = AREA_WEIGHT * F.avg_pool2d(error, 8).abs().mean() + F.avg_pool2d(error, 2).abs().mean()
    return error.abs().mean() + EDGE_WEIGHT * edges + areas


def vary(rgba_B4HW: torch.Tensor, draw: Draw, outline_share: float = 0.25) -> torch.Tensor:
    """Images in [-1, 1] with palettes, backgrounds and outlines that the trained styles do not have."""
    count = len(rgba_B4HW)
    images = lay_on_background(rgba_B4HW.float() / 255, draw, plain_share=0.7)
    images = torch.where(draw.uniform(count, 1, 1, 1) < 0.3, recolour(images, draw), images)
    images = torch.where(draw.uniform(count, 1, 1, 1) < outline_share, outline(images, draw), images)
    images = torch.where(draw.uniform(count, 1, 1, 1) < 0.5, images.flip(-1), images)
    return images * 2 - 1


def train_vae(
    art: ArtSet, *, span: Span, batch: int, learning_rate: float, work: Path, seed: int, dtype: torch.dtype
) -> tuple[AutoencoderKL, Fitted]:
    """Train the autoencoder; its latents have zero mean and unit variance per channel.

    Latents of half the batch are turned, and those of a quarter shrunk, and must decode to the turned or shrunk
    picture (EQ-VAE, arXiv 2502.09509): such latents are easier for the UNet to learn.
    """
    torch.manual_seed(seed)
    vae = build_vae().to(art.rgba_N4HW.device)
    rows = (art.trained_N & (art.weight_N > 0)).nonzero().flatten()
    weights = art.weight_N[rows]

    def losses_at(model: torch.nn.Module, count: int, step: int, draw: Draw) -> Losses:
        assert isinstance(model, AutoencoderKL)
        images = vary(art.rgba_N4HW[rows[draw.choice(weights, count)]], draw)
        moments = model.encode(images.to(model.dtype)).latent_dist
        mean, logvar = moments.mean.float(), moments.logvar.float()
        latents = mean + (0.5 * logvar).exp() * draw.normal(*mean.shape)
        turned, quarters = count // 2, 1 + draw.integer(3)
        shown = torch.cat([latents[turned:], torch.rot90(latents[:turned], quarters, (2, 3))])
        target = torch.cat([images[turned:], torch.rot90(images[:turned], quarters, (2, 3))])
        losses = {"pixels": reconstruction_loss(model.decode(shown.to(model.dtype)).sample.float(), target)}
        quarter = max(1, count // 4)
        small = model.decode(F.avg_pool2d(latents[-quarter:], 2).to(model.dtype)).sample.float()
        losses["scaled"] = SCALED_WEIGHT * reconstruction_loss(small, F.avg_pool2d(images[-quarter:], 2))
        losses["kl"] = KL_WEIGHT * 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return losses

    held = (art.held_out_N & ~art.tone_N).nonzero().flatten()
    openmoji = art.rows_of("openmoji")[:: max(1, len(art.rows_of("openmoji")) // 256)]

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, AutoencoderKL)
        return {"held_out_mae": measure_error(model, art, held), "openmoji_mae": measure_error(model, art, openmoji)}

    fitted = fit(
        "vae", vae, losses_at, span=span, batch=batch, learning_rate=learning_rate, work=work, seed=seed, dtype=dtype,
        evaluate=evaluate, evaluate_times=5,
    )  # fmt: skip
    vae.load_state_dict(fitted.states["ema_0.05"])
    vae.requires_grad_(False).eval()
    standardise_latents(vae, art, rows)
    return vae, fitted


def train_decoder(
    vae: AutoencoderKL, art: ArtSet, *, span: Span, batch: int, learning_rate: float, work: Path, seed: int,
    dtype: torch.dtype,
) -> Fitted:  # fmt: skip
    """Train the decoder of a finished autoencoder further, in place; latents and so the UNet stay what they are.

    It sees the blobs and EmojiOne too, which change no latent; never OpenMoji, and no held-out drawing.
    """
    vae.requires_grad_(False)
    for module in (vae.post_quant_conv, vae.decoder):
        module.requires_grad_(True)
    others = torch.isin(art.style_N, torch.tensor([STYLES.index(s) for s in DECODER_ALSO], device=art.style_N.device))
    rows = (art.trained_N | others).nonzero().flatten()
    weights = torch.where(art.tone_N[rows], TONE_WEIGHT, 1.0)

    def losses_at(model: torch.nn.Module, count: int, step: int, draw: Draw) -> Losses:
        assert isinstance(model, AutoencoderKL)
        images = vary(art.rgba_N4HW[rows[draw.choice(weights, count)]], draw, outline_share=0.35)
        with torch.no_grad():
            moments = model.encode(images.to(model.dtype)).latent_dist
            latents = moments.mean.float() + moments.std.float() * draw.normal(*moments.mean.shape)
        return {"pixels": reconstruction_loss(model.decode(latents.to(model.dtype)).sample.float(), images)}

    held = (art.held_out_N & ~art.tone_N).nonzero().flatten()
    held = held[:: max(1, len(held) // 64)]
    openmoji = art.rows_of("openmoji")[:: max(1, len(art.rows_of("openmoji")) // 64)]

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, AutoencoderKL)
        return {"held_out_mae": measure_error(model, art, held), "openmoji_mae": measure_error(model, art, openmoji)}

    fitted = fit(
        "vae_decoder", vae, losses_at, span=span, batch=batch, learning_rate=learning_rate, work=work, seed=seed,
        dtype=dtype, warmup_steps=20, decay_share=1.0, evaluate=evaluate, evaluate_times=3,
    )  # fmt: skip
    vae.load_state_dict(fitted.states["ema_0.05"])
    vae.requires_grad_(False).eval()
    return fitted


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images_B3HW: torch.Tensor) -> torch.Tensor:
    """Through the latents' means and back, float32 in [-1, 1]."""
    mean = vae.encode(images_B3HW.to(vae.dtype)).latent_dist.mean
    return vae.decode(mean).sample.float().clamp(-1, 1)


@torch.no_grad()
def measure_error(vae: AutoencoderKL, art: ArtSet, rows: torch.Tensor) -> float:
    """Mean absolute error of reconstructions on white, on 0-1 pixels; nan of no rows."""
    if not len(rows):
        return float("nan")
    errors = []
    for part in rows.split(64):
        images = to_unit(art.rgba_N4HW[part])
        errors.append((reconstruct(vae, images) - images).abs().mean(dim=(1, 2, 3)) / 2)
    return float(torch.cat(errors).mean())


@torch.no_grad()
def encode_art(vae: AutoencoderKL, art: ArtSet, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and standard deviations of the latents of drawings on white, float32 [len(rows), 4, 16, 16]."""
    moments = [vae.encode(to_unit(art.rgba_N4HW[part]).to(vae.dtype)).latent_dist for part in rows.split(64)]
    return torch.cat([m.mean.float() for m in moments]), torch.cat([m.std.float() for m in moments])


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, art: ArtSet, rows: torch.Tensor) -> None:
    """Fold a shift and a scale per channel into the 1×1 convolutions around the latents.

    Exact: the decoder undoes what the encoder does. With it `scaling_factor` is 1 and no shift is
    needed, which `StableDiffusionPipeline` would ignore.
    """
    mean, _ = encode_art(vae, art, rows[:: max(1, len(rows) // 2048)])
    shift, scale = mean.mean(dim=(0, 2, 3)), mean.std(dim=(0, 2, 3))
    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    encoder.weight[:4] /= scale[:, None, None, None]
    encoder.bias[:4] = (encoder.bias[:4] - shift) / scale
    encoder.bias[4:] -= 2 * scale.log()  # the log-variance
    decoder.bias += (decoder.weight[:, :, 0, 0] * shift).sum(dim=1)
    decoder.weight *= scale[None, :, None, None]
