"""The denoiser, on the trained styles, so that the others are new to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel

from emote.tools.pretraining.art_set import ArtSet
from emote.tools.pretraining.captions import CaptionTable, draw_styles
from emote.tools.pretraining.loop import Draw, Fitted, Losses, Span, State, draw_at, fit
from emote.tools.pretraining.vae import encode_art

CAPTION_DROPOUT = 0.1
SNR_GAMMA = 5.0
EVALUATION_SEED = 7
EVALUATION_DRAWS = 8  # of timestep and noise for each held-out drawing


def build_unet() -> UNet2DConditionModel:
    """SD 1.5's layout in small: cross-attention at the highest resolution, none at the lowest."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 160),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=2,  # diffusers' name for the number of heads
        norm_num_groups=32,
    )


def noise_schedule() -> DDPMScheduler:
    """SD 1.5's own."""
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


@torch.no_grad()
def embed_captions(text: torch.nn.Module, ids_CT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The text tower's last hidden states [C, T, width] of token ids, in `dtype`."""
    parts = [text(input_ids=ids.long()).last_hidden_state.to(dtype) for ids in ids_CT.split(2048)]
    return torch.cat(parts)


def train_unet(
    art: ArtSet,
    captions: CaptionTable,
    vae: AutoencoderKL,
    text: torch.nn.Module,
    *,
    span: Span,
    batch: int,
    learning_rate: float,
    work: Path,
    seed: int,
    dtype: torch.dtype,
    wrap: Callable[[torch.nn.Module], Callable[..., torch.Tensor]] | None = None,
    on_average: Callable[[State, dict[str, float]], None] | None = None,
) -> tuple[UNet2DConditionModel, Fitted, str]:
    """Train on cached latents and captions; returns the UNet, what `fit` tells, and which weights were best.

    Of the averages the one with the lowest held-out loss is taken. `wrap` may make a faster function of the UNet's
    `forward(latents, timesteps, context)`.
    """
    torch.manual_seed(seed)
    device = art.rgba_N4HW.device
    unet = build_unet().to(device)
    alphas = noise_schedule().alphas_cumprod.to(device)
    rows = (art.trained_N & (art.weight_N > 0)).nonzero().flatten()
    weights, names, styles = art.weight_N[rows], art.name_N[rows], art.style_N[rows]
    mean, std = encode_art(vae, art, rows)
    used, position = used_captions(art, captions)
    embeddings = embed_captions(text, captions.ids_CT[used], torch.bfloat16)
    empty_ids = captions.ids_CT[:1].clone()
    empty_ids[:, 1:] = captions.ids_CT[0, -1]
    empty = embed_captions(text, empty_ids, torch.bfloat16)[0]
    forwards: dict[int, Callable[..., torch.Tensor]] = {}

    def predict(model: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        nonlocal wrap
        if wrap is not None and model.training and torch.is_grad_enabled():
            try:
                if id(model) not in forwards:
                    forwards[id(model)] = wrap(model)
                return forwards[id(model)](*inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; the plain function does the same
                print(f"compiled UNet failed, going on without: {type(error).__name__}: {error}", flush=True)
                wrap = None
        return model(*inputs, return_dict=False)[0]

    def weighted_error(
        model: torch.nn.Module, latents: torch.Tensor, context: torch.Tensor, timesteps: torch.Tensor, draw: Draw
    ) -> torch.Tensor:
        noise = draw.normal(*latents.shape)
        alpha = alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        kind = next(model.parameters()).dtype
        predicted = predict(model, noisy.to(kind), timesteps, context.to(kind)).float()
        weight = (SNR_GAMMA * (1 - alpha) / alpha).clamp(max=1.0)  # min-SNR, arXiv 2303.09556
        return (weight * (predicted - noise).square()).mean()

    def losses_at(model: torch.nn.Module, count: int, step: int, draw: Draw) -> Losses:
        chosen = draw.choice(weights, count)
        said = captions.rows(names[chosen], draw_styles(styles[chosen], draw), draw)
        context = embeddings[position[said]]
        context = torch.where(draw.uniform(count, 1, 1) < CAPTION_DROPOUT, empty, context)
        latents = mean[chosen] + std[chosen] * draw.normal(*mean[chosen].shape)
        return {"weighted": weighted_error(model, latents, context, spread(count, draw), draw)}

    held = (art.held_out_N & ~art.tone_N).nonzero().flatten()
    held_mean, _ = encode_art(vae, art, held) if len(held) else (mean[:0], std[:0])

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        """Held-out drawings of known concepts, asked for with their style and without; always the same noise."""
        if not len(held):
            return {}
        losses = {"held_out_styled": art.style_N[held], "held_out_plain": torch.full_like(held, -1)}
        found = {}
        for key, said in losses.items():
            context = embeddings[position[captions.row(captions.first_N[art.name_N[held]], 1, said)]]
            total = 0.0
            for i in range(EVALUATION_DRAWS):
                draw = draw_at(EVALUATION_SEED, i, device)
                total += float(weighted_error(model, held_mean, context, spread(len(held), draw), draw))
            found[key] = total / EVALUATION_DRAWS
        found["held_out"] = (found["held_out_styled"] + found["held_out_plain"]) / 2
        return found

    fitted = fit(
        "unet", unet, losses_at, span=span, batch=batch, learning_rate=learning_rate, work=work, seed=seed,
        dtype=dtype, evaluate=evaluate, on_average=on_average,
    )  # fmt: skip
    scores = {}
    for key, state in fitted.states.items():
        unet.load_state_dict(state)
        with torch.no_grad():
            scores[key] = evaluate(unet.eval()).get("held_out", 0.0)
    best = min(scores, key=lambda key: scores[key])
    fitted.curve.append({f"held_out_{key}": value for key, value in scores.items()})
    unet.load_state_dict(fitted.states[best])
    return unet.requires_grad_(False).eval(), fitted, best


def used_captions(art: ArtSet, captions: CaptionTable) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the table that training and its evaluation ask for, and where each row of the table is among them."""
    from emote.tools.pretraining.art_pack import TRAINED
    from emote.tools.pretraining.art_set import STYLES
    from emote.tools.pretraining.wordings import FORMS

    wanted = torch.cat([art.trained_N.nonzero().flatten(), art.held_out_N.nonzero().flatten()])
    names = torch.unique(art.name_N[wanted])
    first, count = captions.first_N[names].tolist(), captions.count_N[names].tolist()
    wordings = torch.cat([torch.arange(f, f + c) for f, c in zip(first, count, strict=True)])
    kinds = torch.tensor([-1, *(STYLES.index(style) for style in TRAINED)])
    grid = CaptionTable.row(
        wordings[:, None, None], torch.arange(len(FORMS))[None, :, None], kinds[None, None, :]
    ).flatten()
    used = grid.to(captions.ids_CT.device)
    position = torch.zeros(len(captions.ids_CT), dtype=torch.long, device=used.device)
    position[used] = torch.arange(len(used), device=used.device)
    return used, position


def spread(count: int, draw: Draw) -> torch.Tensor:
    """Timesteps evenly over the schedule from a random start: less variance between steps than independent ones."""
    start = draw.uniform(1)
    places = torch.arange(count, device=start.device) / count
    return ((start + places) % 1 * 1000).long().clamp(max=999)


@torch.no_grad()
def draw_latents(
    unet: UNet2DConditionModel,
    context_BTD: torch.Tensor,
    empty_TD: torch.Tensor,
    *,
    guidance: float,
    steps: int = 25,
    seed: int = 0,
) -> torch.Tensor:
    """Latents [B, 4, 16, 16] by DPM-Solver++ with guidance; noise i depends on `seed + i` alone."""
    device, dtype = context_BTD.device, next(unet.parameters()).dtype
    scheduler = DPMSolverMultistepScheduler.from_config(noise_schedule().config, use_karras_sigmas=True)
    scheduler.set_timesteps(steps, device=device)
    latents = torch.stack(
        [torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(context_BTD))]
    ).to(device)
    context = torch.cat([context_BTD, empty_TD.expand_as(context_BTD)]).to(dtype)
    for timestep in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), timestep).to(dtype)
        given, without = unet(both, timestep, context, return_dict=False)[0].float().chunk(2)
        latents = scheduler.step(without + guidance * (given - without), timestep, latents, return_dict=False)[0]
    return latents
