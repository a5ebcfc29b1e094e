"""From the files that training leaves to `weights/mini`: diffusers format, half-precision weights, the model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from emote.tools.pretraining.art_pack import TRAINED, UNSEEN
from emote.tools.pretraining.captions import MAX_TOKENS
from emote.tools.pretraining.measure import draw_sheet, save_image
from emote.tools.pretraining.parts import EARLY, bare_name, load_part, mix_parts, read_bundle
from emote.tools.pretraining.towers import Pair, ResNetWithProjection, build_judge, build_towers
from emote.tools.pretraining.unet import build_unet, noise_schedule
from emote.tools.pretraining.vae import DECODER_ALSO, build_vae
from emote.tools.pretraining.wordings import SUBJECTS
from emote.util.files import write_bytes, write_json, write_text, write_with


def publish_bundle(bundle: Path, parts: Path, output: Path, note: str, early_share: float = 0.0) -> None:
    """Unpack a bundle into `parts` and write the miniature to `output`, all of it or nothing.

    early_share: of the UNet's weights of the lowest held-out loss on the way; the rest is of those at the end.
    """
    read_bundle(bundle, parts)
    if early_share:
        mix_parts(parts / "unet.safetensors", bundle / EARLY, early_share)
    facts = json.loads((bundle / "curves.json").read_text(encoding="utf-8"))
    facts |= {"note": note, "early_share": early_share}
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    towers, judge = load_pairs(parts, tokenizer)
    vae, unet = build_vae(), build_unet()
    load_part(vae, parts / "vae.safetensors")
    load_part(unet, parts / "unet.safetensors")
    # its own tokenizer: one that has padded writes so into its file
    samples = draw_sheet(unet, vae, towers.text, CLIPTokenizer.from_pretrained(parts / "tokenizer"))
    text_encoder = CLIPTextModel(towers.text.config)
    _copy_weights(towers.text, text_encoder)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(), text_encoder=text_encoder.half(), tokenizer=tokenizer, unet=unet.half(),
        scheduler=noise_schedule(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary, safe_serialization=True)
    DDPMScheduler.from_config(noise_schedule().config).save_pretrained(temporary / "scheduler")
    _prefix_text_keys(temporary / "text_encoder" / "model.safetensors")
    for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json alone; other tools read these
        write_bytes(temporary / "tokenizer" / name, (parts / "tokenizer" / name).read_bytes())
    _save_image_encoder(towers, temporary / "image_encoder")
    _save_judge(judge, temporary / "judge")
    save_image(samples, temporary / "samples.png")
    if (bundle / "vae.png").exists():
        write_bytes(temporary / "reconstructions.png", (bundle / "vae.png").read_bytes())
    write_json(temporary / "metrics.json", facts)
    write_text(temporary / "README.md", card(facts))
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary.rename(output)


def replace_decoder(
    model: Path, output: Path, vae: AutoencoderKL, facts: dict[str, Any], reconstructions: Image.Image
) -> None:
    """Write the miniature at `model` to `output` (which may be the same) with another decoder, all of it or nothing."""
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(model, temporary)
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    sheet = draw_sheet(pipeline.unet.float(), vae, pipeline.text_encoder.float(), pipeline.tokenizer)
    save_image(sheet, temporary / "samples.png")
    save_image(reconstructions, temporary / "reconstructions.png")
    vae.half().save_pretrained(temporary / "vae", safe_serialization=True)
    write_json(temporary / "metrics.json", facts)
    write_text(temporary / "README.md", card(facts))
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)


def load_pairs(parts: Path, tokenizer: CLIPTokenizer) -> tuple[Pair, Pair]:
    """The miniature's towers and the judge, in float32, frozen, from the training's files."""
    towers, judge = build_towers(tokenizer), build_judge(tokenizer)
    for pair, text, vision in ((towers, "text", "vision"), (judge, "judge_text", "judge_vision")):
        load_part(pair.text, parts / f"{text}.safetensors")
        scale = load_part(pair.vision, parts / f"{vision}.safetensors", besides=("logit_scale",))
        pair.logit_scale.data.copy_(scale["logit_scale"])
        pair.requires_grad_(False).eval()
    return towers, judge


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """By names without the prefix that versions of transformers differ in; what `target` lacks is left out."""
    values = {bare_name(key): value for key, value in source.state_dict().items()}
    target.load_state_dict({key: values[bare_name(key)] for key in target.state_dict()})


def _prefix_text_keys(path: Path) -> None:
    """Name the text tower's weights as Stable Diffusion's files do: every version of transformers reads that."""
    named = {
        key if key == "text_projection.weight" else f"text_model.{bare_name(key)}": value
        for key, value in load_file(path).items()
    }
    write_with(path, lambda file: save_file(named, file, {"format": "pt"}))


def _save_image_encoder(towers: Pair, folder: Path) -> None:
    """The vision tower with its projection, and the text tower's projection beside it, for evaluation."""
    towers.vision.half().save_pretrained(folder, safe_serialization=True)
    projection = {
        "text_projection.weight": towers.text.text_projection.weight, "logit_scale": towers.logit_scale,
    }  # fmt: skip
    _save_halves(folder / "text_projection.safetensors", projection)


def _save_judge(judge: Pair, folder: Path) -> None:
    """`text` and `vision` as stock transformers models; the vision tower's projection and the scale beside them."""
    assert isinstance(judge.vision, ResNetWithProjection)
    judge.text.half().save_pretrained(folder / "text", safe_serialization=True)
    _prefix_text_keys(folder / "text" / "model.safetensors")
    judge.vision.vision_model.half().save_pretrained(folder / "vision", safe_serialization=True)
    projection = {
        "visual_projection.weight": judge.vision.visual_projection.weight, "logit_scale": judge.logit_scale,
    }  # fmt: skip
    _save_halves(folder / "projection.safetensors", projection)


def load_judge(folder: Path, tokenizer: CLIPTokenizer) -> Pair:
    """The published judge (`weights/mini/judge`), in float32, frozen."""
    from transformers import CLIPTextModelWithProjection, ResNetModel

    judge = build_judge(tokenizer)
    assert isinstance(judge.vision, ResNetWithProjection)
    judge.text = CLIPTextModelWithProjection.from_pretrained(folder / "text").float()
    judge.vision.vision_model = ResNetModel.from_pretrained(folder / "vision").float()
    projection = load_file(folder / "projection.safetensors")
    judge.vision.visual_projection.weight.data.copy_(projection["visual_projection.weight"])
    judge.logit_scale.data.copy_(projection["logit_scale"])
    return judge.requires_grad_(False).eval()


def _save_halves(path: Path, values: dict[str, torch.Tensor]) -> None:
    state = {name: value.detach().half().contiguous() for name, value in values.items()}
    write_with(path, lambda file: save_file(state, file))


def card(facts: dict[str, Any]) -> str:
    """The model card in Markdown, of the training's own figures."""
    stages, sets = facts["stages"], facts["sets"]
    parameters = {name: f"{count:,}" for name, count in facts.get("parameters", {}).items()}
    refined = "vae_decoder" in stages
    seen_by = dict.fromkeys(TRAINED, "trained on")
    if refined:
        seen_by |= dict.fromkeys(DECODER_ALSO, "seen by the autoencoder's decoder, new to all else")
    credits = "\n".join(
        f"| {style} | {of['title']} by {of['author']} | {of['licence']} | {of['url']} | "
        f"{seen_by.get(style, 'new to all parts')} |"
        for style, of in sets.items()
    )
    training = "\n".join(
        f"| {stage} | {told['steps']:,} | {told['batch']:,} | {told['samples']:,} | {told['seconds'] / 60:.1f} |"
        for stage, told in stages.items()
    )
    judged = facts.get("judged") or {}
    drawings = f"{int(judged['drawn']['count']):,}" if "drawn" in judged else "no"
    early = facts.get("early_share", 0.0)
    mixed = (
        f", mixed with {early:.0%} of the weights that had the lowest on the way (arXiv 2109.01903)" if early else ""
    )
    seen = [row for row in stages["unet"]["curve"] if "held_out" in row]
    mae = facts["vae"]["mae"] if isinstance(facts.get("vae"), dict) else {}
    figures = "\n".join(
        f"| {style} | {mae.get(style, '–')} | {_share(facts, 'judge', style, 'top1')} | "
        f"{_share(facts, 'judge', style, 'top5')} | {_share(facts, 'towers', style, 'top1')} |"
        for style in (*TRAINED, *UNSEEN)
    )
    return f"""---
license: cc-by-4.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [stable-diffusion, emoji, miniature]
---

# The miniature

A Stable Diffusion in small, trained from scratch on emoji art in three styles at 128 × 128 pixels. It exists so that
everything in this repository can be run, tested and looked at on any laptop, by the same code that runs Stable
Diffusion 1.5.

![samples](samples.png)

Across: {", ".join(SUBJECTS[:6])},
{", ".join(SUBJECTS[6:])}. Down: asked for as "An emoji of …", then with
the style, {", ".join(TRAINED)} (25 steps of DPM-Solver++, guidance 5, seeds 0 to 11; none chosen).

| part | what | parameters |
| --- | --- | --- |
| `vae` | AutoencoderKL, 128×128×3 to 16×16×4 | {parameters.get("vae", "–")} |
| `text_encoder` | CLIP text tower, 4 layers of width 128, {MAX_TOKENS} tokens at most | {parameters.get("text", "–")} |
| `unet` | UNet2DConditionModel, 64-128-160 channels, attention at 16×16 and 8×8 | {parameters.get("unet", "–")} |
| `image_encoder` | the vision tower that the text tower was trained with | {parameters.get("vision", "–")} |
| `judge` | another pair (CLIP text tower and ResNet) that says what a drawing shows | {parameters.get("judge", "–")} |
| `tokenizer` | byte-pair encoding in CLIP's format, {facts["vocabulary"]:,} tokens | |

Epsilon prediction, SD 1.5's noise schedule, float16 safetensors, `scaling_factor` 1 (latents have unit variance).

## Data

| style | art | licence | source | |
| --- | --- | --- | --- | --- |
{credits}

Names and keywords are Unicode CLDR's. {facts["drawings"]:,} drawings without flags, cropped to the figure with 3 %
margin, on white. {facts["held_out"]} drawings of the trained styles were kept from every part: all that one style draws
of a concept that another style draws too, so no concept is unknown. Half of the captions name the style. Skin-tone
variants weigh a tenth of an emoji without one, and a concept with k drawings counts as √k.

## Training

`python scripts/pretrain_mini.py` with seed {facts["seed"]}, on {facts["device"]}{
        ", and then `refine=` on a CPU (vae_decoder)" if refined else ""
    }:

| stage | steps | batch | samples | minutes |
| --- | --- | --- | --- | --- |
{training}

Averaged weights; of the UNet's averages at the end the one with the lowest held-out loss
({stages["unet"].get("chosen", "–")}){mixed}. {facts["note"]}

The UNet's loss on held-out drawings as it learned (all curves stand in `metrics.json`):

| samples | {" | ".join(f"{row['samples'] / 1e6:.2f} M" for row in seen)} |
| --- |{" --- |" * len(seen)}
| loss | {" | ".join(f"{row['held_out']:.3f}" for row in seen)} |

## Figures

Of the trained styles on held-out drawings, of the others on all. The towers and the judge choose among all concepts
that they know; variants of a concept count as one.

| style | VAE, mean absolute error (0–1 pixels) | judge, top 1 | judge, top 5 | towers, top 1 |
| --- | --- | --- | --- | --- |
{figures}

Of {drawings} drawings by the UNet at the end of its training, one for each emoji name, the judge recognises
{_share(facts, "judged", "drawn", "top1")} (top 5 {_share(facts, "judged", "drawn", "top5")}); of real drawings of the
same names, which it was trained on, {_share(facts, "judged", "real", "top1")} (top 5
{_share(facts, "judged", "real", "top5")}).

![reconstructions](reconstructions.png)

## Known weaknesses

- It knows emoji names, their keywords and little else: other words mean nothing to it, and combinations ("a cat with a
  hat") rarely work.
- It memorised its training set: where the loss above rises again while the training loss falls, drawings get closer to
  the ones that it saw, not to new ones. It is a test object, not a source of new art.
- The autoencoder blurs: lines of one or two pixels and letters are lost, most in a style of black outlines, which it
  never saw; the picture above shows it.
- The judge is right about one drawing in two in a style that it never saw: good for comparing many drawings, not for
  a verdict on one.

## Licence

CC BY 4.0, because Twemoji taught it. Attribution: see the table above.
"""


def _share(facts: dict[str, Any], what: str, key: str, figure: str) -> str:
    found = facts.get(what)
    value = found.get(key, {}).get(figure) if isinstance(found, dict) else None
    return "–" if value is None else f"{value:.1%}"
