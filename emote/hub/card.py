"""The model card: what the Hub reads of it (YAML at its top), and what people do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from emote.hub.facts import MINIATURE, Facts

LIBRARY = "diffusers"
CODE = """\
import torch
from diffusers import AutoPipelineForText2Image, DPMSolverMultistepScheduler

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.float16 if device == "cuda" else torch.float32
pipeline = {load}
pipeline.load_lora_weights("{repository}", weight_name="{adapter}", adapter_name="emoji")
pipeline.set_adapters("emoji", {scale:g})  # strength
pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
pipeline.to(device)
image = pipeline(
    {example!r},
    width={side},
    height={side},
    num_inference_steps={steps},
    guidance_scale={guidance:g},
    generator=torch.Generator().manual_seed({seed}),
).images[0]
image.save("emoji.png")
"""


def write_card(facts: Facts) -> str:
    """Return README.md of the repository."""
    parts = [
        f"---\n{yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True, width=10**6)}---",
        f"# {facts.name}",
        _introduction(facts),
        *_sheet(facts),
        "## Use it",
        _code(facts),
        _elsewhere(facts),
        "## What it learned",
        _losses(facts),
        _looks(facts),
        "## Recipe",
        _table(recipe(facts)),
        "## What it is bad at",
        "\n".join(f"- {line}" for line in weaknesses(facts)),
        "## Licences",
        _licences(facts),
        "## Make it again",
        _again(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def metadata(facts: Facts) -> dict[str, Any]:
    """Return the YAML that the Hub understands: https://huggingface.co/docs/hub/model-cards"""
    licence = facts.base_licence[0]
    values: dict[str, Any] = {"library_name": LIBRARY, "pipeline_tag": "text-to-image"}
    if not facts.base_is_local:
        values |= {"base_model": facts.base, "base_model_relation": "adapter"}
    values["license"] = licence or "other"
    if licence is None:
        values["license_name"] = "terms-of-base-and-data"
    if facts.dataset:
        values["datasets"] = [facts.dataset]
    kind = "stable-diffusion-xl" if facts.is_xl else "stable-diffusion"
    values["tags"] = ["text-to-image", kind, "diffusers", "lora", "template:sd-lora", "emoji"]
    if facts.trigger:
        values["instance_prompt"] = facts.trigger
    images = [(prompt, f"samples/{i:02d}-fine-tuned.png") for i, prompt in enumerate(facts.prompts)]
    if widget := [{"text": prompt, "output": {"url": file}} for prompt, file in images if file in facts.files]:
        values["widget"] = widget
    return values


def _introduction(facts: Facts) -> str:
    lora, steps, planned = facts.config["lora"], facts.summary["max_steps"], facts.summary.get("planned_steps")
    images = (facts.summary.get("items") or {}).get("training")
    of = f"{images:,} images of {facts.data_name}" if images else facts.data_name
    text = (
        f"A LoRA adapter of rank {lora['rank']} for {base_words(facts)}, trained for {steps:,} steps on {of} "
        f"at {facts.side_px} × {facts.side_px} pixels."
    )
    return text if planned is None else f"{text}\n\n**Training goes on:** this is step {steps:,} of {planned:,}."


def base_words(facts: Facts) -> str:
    if facts.base == MINIATURE:
        return "the miniature Stable Diffusion of emote's repository"
    if facts.base_is_local:
        return f"`{facts.base}`, a Stable Diffusion that is not on the Hub under this name"
    return f"[{facts.base}](https://huggingface.co/{facts.base})"


def _sheet(facts: Facts) -> Iterator[str]:
    if "samples.png" not in facts.files:
        return
    strength = "" if facts.scale == 1 else f", at {facts.scale:g} of its strength"
    yield "![the same prompts before and after](samples.png)"
    yield (
        f"*The same prompts and the same noise: left the base model, right with this adapter{strength}. The prompts "
        "were fixed before training; none of the images was chosen.*"
    )


def diffusers_code(facts: Facts) -> str:
    """Draws the first of the card's images."""
    model, samples = facts.config["model"], facts.config["callbacks"]["samples"]
    options = "".join(f', {key}="{model[key]}"' for key in ("revision", "variant") if model.get(key))
    load = f'AutoPipelineForText2Image.from_pretrained("{facts.base}"{options}, torch_dtype=dtype)'
    code = CODE
    if facts.base.endswith(".safetensors"):
        kind = "StableDiffusionXLPipeline" if facts.is_xl else "StableDiffusionPipeline"
        load = f'{kind}.from_single_file("{facts.base}", torch_dtype=dtype)'
        code = code.replace(
            "AutoPipelineForText2Image, DPMSolverMultistepScheduler", f"DPMSolverMultistepScheduler, {kind}"
        )
    return code.format(
        load=load, repository=facts.repository, adapter=facts.adapter_file, scale=facts.strength, example=facts.example,
        side=facts.side_px, steps=samples["inference_steps"], guidance=samples["guidance_scale"], seed=facts.seed,
    )  # fmt: skip


def _code(facts: Facts) -> str:
    note = ""
    if facts.base == MINIATURE:
        note = "\n\nRun it in the directory of emote's repository, where the base model lies."
    elif facts.base_is_local:
        note = f"\n\nThe base model, `{facts.base}`, must lie where the code is run."
    tools = "With [diffusers](https://github.com/huggingface/diffusers) and peft:"
    return f"{tools}\n\n```python\n{diffusers_code(facts)}```{note}"


def _elsewhere(facts: Facts) -> str:
    if facts.base == MINIATURE:
        return f"`{facts.kohya_file}` is the same in kohya's format; ComfyUI and A1111 do not load the miniature."
    samples, file, scale = facts.config["callbacks"]["samples"], facts.kohya_file, f"{facts.strength:g}"
    steps, guidance, side = samples["inference_steps"], f"{samples['guidance_scale']:g}", facts.side_px
    checkpoint = f"the checkpoint of {facts.base}"
    return (
        f"**ComfyUI:** put [`{file}`]({file}) into `ComfyUI/models/loras`, load {checkpoint}, and place the node "
        f"*LoraLoaderModelOnly* (strength {scale}) between *Load Checkpoint* and *KSampler* "
        f"(sampler `dpmpp_2m`, scheduler `normal`, {steps} steps, cfg {guidance}, {side} × {side}).\n\n"
        f"**A1111:** put `{file}` into `stable-diffusion-webui/models/Lora`, choose {checkpoint}, and write\n\n"
        f"```\n{facts.example} <lora:{file.removesuffix('.safetensors')}:{scale}>\n"
        f"Steps: {steps}, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: {guidance}, Seed: {facts.seed}, "
        f"Size: {side}x{side}, RNG: CPU\n```\n\n"
        "Neither program was run with this file; the names in it follow their rules."
    )


def _losses(facts: Facts) -> str:
    train, held_out = facts.summary.get("train_loss") or {}, facts.summary.get("validation_loss") or {}
    rows: list[tuple[str, str]] = []
    if train.get("last_500_mean") is not None:
        rows.append(
            ("training loss, first and last 500 steps", f"{train['first_500_mean']:.4f}, {train['last_500_mean']:.4f}")
        )
    if held_out.get("final") is not None:
        change = f" ({held_out['relative']:+.1%})"
        rows.append(("held-out loss, base → fine-tuned", f"{held_out['base']:.4f} → {held_out['final']:.4f}{change}"))
        if held_out.get("interval_95"):
            low, high = held_out["interval_95"]
            rows.append(("95 % interval of the difference", f"{low:+.4f} to {high:+.4f}"))
        rows.append(("held out", f"{held_out['items']:,} images of {held_out['concepts']:,} concepts"))
    parts = [_table(rows)] if rows else []
    if "loss.png" in facts.files:
        parts.append("![losses](loss.png)")
    return "\n\n".join(parts)


def _variant(lora: dict[str, Any]) -> str:
    name = lora.get("variant", "lora")
    return "" if name == "lora" else f"{name}, "


def _optimizer(trainer: dict[str, Any]) -> str:
    name = trainer.get("optimizer", "adamw")
    ratio = trainer.get("lora_plus_ratio")
    return ("AdamW" if name == "adamw" else str(name)) + (f" with LoRA+ {ratio:g}" if ratio else "")


def _looks(facts: Facts) -> str:
    """What a judge saw in its images: closely where it was evaluated, else at the end of training."""
    if found := facts.evaluation:
        names = {"recognised_top5": "recognised within five guesses", "style_share": "of the way to the real style",
                 "usable": "usable in a pack", "copies": "copied among held-out concepts"}  # fmt: skip
        figures, base, real = found["figures"], found["base"], found["real"]
        rows = [(words, f"{_share(base, key)} → {_share(figures, key)}{_of_real(real, key)}")
                for key, words in names.items() if key in figures]  # fmt: skip
        about = (
            f"Images of {found['prompts']:,} concepts, base → fine-tuned at {found['lora_scale']:g} of its strength, "
            f"with 95 % intervals over concepts; the judge is `{found['judge']}`, which taught the base nothing."
        )
        advice = found.get("recommended")
        text = f"Recommended strength: **{advice['lora_scale']:g}**; {advice['reason']}." if advice else ""
        return "\n\n".join(part for part in (about, _table(rows), text) if part)
    if images := facts.summary.get("images"):
        rows = [
            (words, f"{_share(images['base'], key)} → {_share(images['fine_tuned'], key)}")
            for key, words in (("recognised_top5", "recognised within five guesses"), ("usable", "usable in a pack"))
        ]
        about = f"A first look at images of {images['prompts']} concepts (base → fine-tuned, 95 % intervals):"
        return f"{about}\n\n{_table(rows)}"
    return ""


def _share(figures: Mapping[str, Any], key: str) -> str:
    if key not in figures:
        return "–"
    value, ends = figures[key]["value"], figures[key]["interval_95"]
    return f"{value:.0%}" + (f" ({max(0.0, ends[0]):.0%} to {min(1.0, ends[1]):.0%})" if ends else "")


def _of_real(real: Mapping[str, Any], key: str) -> str:
    return f"; real images {real[key]['value']:.0%}" if key.startswith("recognised") and key in real else ""


def recipe(facts: Facts) -> list[tuple[str, str]]:
    lora, trainer, data = facts.config["lora"], facts.config["trainer"], facts.config["data"]
    targets = lora["targets"] if isinstance(lora["targets"], str) else ", ".join(lora["targets"])
    schedule = str(trainer["schedule"])
    if schedule != "constant":
        schedule += f" over {trainer['schedule_steps']:,} steps"
    if trainer["warmup_steps"]:
        schedule += f", {trainer['warmup_steps']:,} steps of warm-up"
    precision = facts.summary.get("precision") or {}
    seconds = (facts.summary.get("seconds") or {}).get("total")
    rows = [
        ("adapter", f"{_variant(lora)}rank {lora['rank']}, alpha {lora['alpha']:g}, on {targets}, "
                    f"dropout {lora['dropout']:g}"),
        ("steps", f"{facts.summary['max_steps']:,} of {trainer['batch_size']} images"),
        ("optimizer", f"{_optimizer(trainer)}, learning rate {trainer['learning_rate']:g} ({schedule}), "
                      f"weight decay {trainer['weight_decay']:g}"),
        ("clipping, min-SNR γ", f"{_or_none(trainer['max_grad_norm'])}, {_or_none(trainer['snr_gamma'])}"),
        ("captions", f"`{facts.caption}`, {trainer['caption_dropout']:.0%} of them dropped"),
        ("images", f"{facts.data_name}, {facts.side_px} × {facts.side_px}, on {data['background']}"),
        ("seed", str(facts.config["seed"])),
        ("precision", f"frozen {precision.get('frozen')}, adapter {precision.get('adapter')}"),
        ("device", str(facts.summary.get("device"))),
    ]  # fmt: skip
    if seconds:
        rows.append(("time", f"{seconds / 60:,.0f} minutes in the last sitting"))
    return rows


def weaknesses(facts: Facts) -> Iterator[str]:
    """Yield what can be known from the run; never praise."""
    held_out = facts.summary.get("validation_loss") or {}
    if facts.base == MINIATURE:
        yield "The base is a miniature, made for tests: it does not know many subjects, and blends rare ones."
    yield f"It was trained at {facts.side_px} × {facts.side_px} pixels; other sizes were not tried."
    if facts.only_white:
        yield "All training images lay on white. Other backgrounds, photographs and scenes were not trained."
    yield f"Captions had the form `{facts.caption}`; other forms, and several subjects, were not trained."
    if facts.scale < 1:
        yield f"At full strength it loses subjects more often; the sheet is drawn at {facts.scale:g}."
    if facts.best_step is not None:
        yield (
            f"The held-out loss was lowest at step {facts.best_step:,}: what came after fits the training images "
            f"rather than the style. That adapter is in `best-at-step-{facts.best_step}`."
        )
    if held_out.get("final") is None and facts.summary.get("planned_steps"):
        yield "It was not scored on held-out images yet."
    elif held_out.get("final") is None:
        yield "Nothing was held out, so nothing is known of subjects that it was not trained on."
    elif held_out["final"] >= held_out["base"]:
        yield "Its held-out loss is not lower than the base model's."
    elif held_out.get("interval_95") and held_out["interval_95"][1] >= 0:
        yield "The gain in held-out loss may be chance: its interval holds zero."
    yield "No person has rated its images, and a loss says little about looks. What the base draws wrong, it may too."


def _licences(facts: Facts) -> str:
    return _table(
        [
            ("base model", facts.base_licence[1]),
            ("training images", facts.data_licence),
            ("this adapter", "made from both: the base model's licence applies, and what the images' licence "
                             "asks for (such as naming their authors)"),
        ]
    )  # fmt: skip


def _again(facts: Facts) -> str:
    revision, command = facts.summary.get("git_revision"), facts.summary.get("command")
    versions = facts.summary.get("packages") or {}
    told = ", ".join(f"{name} {versions[name]}" for name in ("torch", "diffusers", "peft") if name in versions)
    where = f" at revision `{revision}`" if revision else ""
    return (
        f"With emote{where}:\n\n```sh\n{command}\n```\n\nPaths are shown by their last part. The configuration is "
        "[config.yaml](config.yaml), all figures are in [summary.json](summary.json), each step in "
        f"[metrics.csv](metrics.csv). Identity of the run: `{facts.summary.get('identity')}`. {told}."
    )


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {left} | {right} |" for left, right in rows)])


def _or_none(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
