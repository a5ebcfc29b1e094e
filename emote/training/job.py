"""Everything that one run works with, built once: data, model, sampler, held-out set."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch

from emote.config import Config
from emote.data.cache import ImageEncoder, TextEmbeddings, TextEncoder, build_figures, build_text
from emote.data.prepared import Prepared, Scan, layout_of, prepare
from emote.evaluation.held_out import HeldOut
from emote.lora.adapter import attach
from emote.lora.nested import Nested
from emote.lora.warm_start import adapt_text, adapts_text, text_encoder_key, warm_start
from emote.models import components
from emote.models.precision import Decision
from emote.models.prompts import PromptEncoder
from emote.runs.run_folder import RunFolder, identity_of
from emote.training.module import LoraModule
from emote.training.preflight.estimate import Estimate
from emote.training.samples import Sampler
from emote.util.console import echo


@dataclass
class Job:
    """name: `<config.name>-<identity>`.  base: directory of the base model.  mixed: see `arithmetic`."""

    config: Config
    name: str
    folder: RunFolder
    base: Path
    decision: Decision
    prepared: Prepared
    estimate: Estimate | None
    module: LoraModule
    sampler: Sampler
    held_out: HeldOut
    mixed: bool = False

    @property
    def identity(self) -> str:
        return identity_of(self.name)

    @property
    def max_steps(self) -> int:
        return self.config.trainer.max_steps

    @property
    def stopped_at(self) -> int | None:
        """The step at which this run ended before its time, by a callback or at a plateau; None where it did not."""
        return self.folder.stopped_at(at_plateau=self.config.trainer.stop is not None)


def build_job(
    config: Config,
    name: str,
    folder: RunFolder,
    base: Path,
    weights: dict[str, str],
    decision: Decision,
    prepared: Prepared,
    estimate: Estimate | None = None,
) -> Job:
    """Load the UNet with its adapter and set up what draws and scores. Nothing is computed yet.

    weights: fingerprints of what the adapter rests on.
    """
    # what the base model's losses and images depend on, beside the images and prompts themselves
    base_key = repr((weights, decision.frozen, decision.device, config.trainer.compile, layout_of(config.data)))
    module = _build_module(config, base, prepared, decision)
    return Job(
        config=config,
        name=name,
        folder=folder,
        base=base,
        decision=decision,
        prepared=prepared,
        estimate=estimate,
        module=module,
        sampler=Sampler(
            config.callbacks.samples,
            partial(components.load_vae, base, torch.float32, "cpu", variant=config.model.variant),
            prepared,
            components.load_scheduler(base).config,
            config.data.resolution,
            base_key,
        ),
        held_out=HeldOut(
            prepared,
            config.callbacks.validation.timesteps,
            config.callbacks.validation.max_items,
            len(module.alphas_cumprod),
            base_key,
        ),
    )


def encode_data(config: Config, base: Path, weights: dict[str, str], found: Scan, decision: Decision) -> Prepared:
    """Encode what is not encoded yet. VAE and text encoder exist only within this call."""
    device = decision.device

    def load_image_encoder() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        # float32: half precision overflows in SD's VAE, and this happens once
        vae = components.load_vae(base, torch.float32, device, variant=config.model.variant)
        return lambda pixels: components.encode_images(vae, pixels.to(device))

    def load_text_encoder(scale: float) -> Callable[[list[str]], torch.Tensor]:
        encoder = PromptEncoder(base, device, variant=config.model.variant)
        adapt_text(encoder.encoders, config.lora, scale)
        return encoder

    prepared = _prepare(config, weights, found, load_image_encoder, load_text_encoder)
    if prepared.figures:
        _tell_figures(prepared, config.trainer.background_weight)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return prepared


def read_encoded(config: Config, weights: dict[str, str], found: Scan) -> Prepared:
    """Return what `encode_data` has left. Raises RuntimeError where something is not encoded."""

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError(f"not everything is encoded in {config.run.cache_dir}; do all processes see one directory?")

    return _prepare(config, weights, found, refuse, refuse)


def _prepare(
    config: Config,
    weights: dict[str, str],
    found: Scan,
    load_image_encoder: Callable[[], ImageEncoder],
    load_text_encoder: Callable[[float], TextEncoder],
) -> Prepared:
    """load_text_encoder: with the start's layers of text encoders, if it has any, at a strength."""
    prepared = prepare(
        found,
        config.data,
        load_image_encoder=load_image_encoder,
        image_encoder_key=weights["vae"],
        load_text_encoder=partial(load_text_encoder, 1.0),
        text_encoder_key=text_encoder_key(config.lora, weights["text_encoder"]),
        cache_dir=Path(config.run.cache_dir),
        prompts=config.callbacks.samples.prompts,
        workers=config.trainer.num_workers,
    )
    if config.trainer.background_weight != 1:
        items = {entry.content: entry.item for entry in found.entries if entry.content in prepared.latents}
        side, workers = prepared.latents.latent_shape[-1], config.trainer.num_workers
        figures = build_figures(items, layout_of(config.data), side, Path(config.run.cache_dir), workers)
        prepared = replace(prepared, figures=figures)
    if not adapts_text(config.lora):
        return prepared
    examples = [*prepared.training, *prepared.held_out]
    captions = {caption for example in examples for caption in example.captions} | {*config.callbacks.samples.prompts}

    def text_at(scale: float) -> TextEmbeddings:
        key = text_encoder_key(config.lora, weights["text_encoder"], scale)
        return build_text(captions, partial(load_text_encoder, scale), key, Path(config.run.cache_dir))

    return replace(prepared, base_text=text_at(0.0), drawn_text=text_at(config.callbacks.samples.lora_scale))


def _tell_figures(prepared: Prepared, weight: float) -> None:
    assert prepared.figures
    count = sum(prepared.figures.is_transparent(example.content) for example in prepared.training)
    said = f"trainer.background_weight={weight:g}"
    if not count:
        echo(f"warning: {said} has no effect: none of the training images is transparent, so no background is known")
    elif count < len(prepared.training):
        echo(f"note: {said}: {count} of {len(prepared.training)} training images are transparent; the rest count whole")


def _build_module(config: Config, base: Path, prepared: Prepared, decision: Decision) -> LoraModule:
    unet = components.load_unet(base, decision.frozen, variant=config.model.variant)
    if config.trainer.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    attach(unet, config.lora)
    text_layers = warm_start(unet, config.lora)
    scheduler = components.load_scheduler(base)
    pixels_a_latent = config.data.resolution // prepared.latents.latent_shape[-1]
    module = LoraModule(unet, scheduler, prepared.text.get(""), config.trainer, config.seed, pixels_a_latent)
    module.text_layers = text_layers
    module.nested = Nested(unet, config.lora) if config.lora.nested else None
    module.to(decision.device)
    module.train()  # for the adapter's dropout; nothing frozen has any
    if config.trainer.compile:
        unet.compile()
    return module
