"""A first look at a finished run's images: are they recognised, and could a pack take them?

So few images tell a broken adapter from a good one, and no more; `emote evaluate` says the rest, with a strength.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from emote.config import SamplesConfig
from emote.data.prepared import Prepared
from emote.evaluation.images.jackknife import Estimate, mean_over
from emote.evaluation.images.judge import ImageJudge, judge_named, judge_of
from emote.evaluation.images.measures import NameJudge, differences, look_at, recognised
from emote.evaluation.images.reference import Names, bare_text
from emote.imaging.cutout import cut_out
from emote.inference.png_metadata import save_png
from emote.lora.adapter import without_adapter
from emote.models import components
from emote.training.job import Job
from emote.training.samples import Sampler
from emote.util.console import echo
from emote.util.errors import ConfigError

SHOWN = ("recognised_top5", "recognised_top1", "usable")


@dataclass(frozen=True)
class Judged:
    """One prompt. ranks: of its name among all names of the set, 1 for the first guess; by the base and the adapter."""

    name: str
    concept: str
    base_rank: float
    final_rank: float
    base_usable: bool
    final_usable: bool


@dataclass(frozen=True)
class ImageCheck:
    """What was seen. base, tuned, difference: estimates by key. images: of each prompt, for another statistic."""

    judge: str
    prompts: int
    lora_scale: float
    base: dict[str, Estimate]
    tuned: dict[str, Estimate]
    difference: dict[str, Estimate]
    images: list[Judged]

    def as_dict(self) -> dict[str, Any]:
        parts = {"base": self.base, "fine_tuned": self.tuned, "difference": self.difference}
        return {
            "judge": self.judge,
            "prompts": self.prompts,
            "lora_scale": self.lora_scale,
            **{name: {key: found[key].as_dict() for key in SHOWN} for name, found in parts.items()},
        }

    def __str__(self) -> str:
        def share(figures: dict[str, Estimate], key: str) -> str:
            return f"{figures[key].value:.0%}"

        return (
            f"images of {self.prompts} concepts: recognised within five guesses base "
            f"{share(self.base, 'recognised_top5')}, fine-tuned {share(self.tuned, 'recognised_top5')}; usable base "
            f"{share(self.base, 'usable')}, fine-tuned {share(self.tuned, 'usable')} (emote evaluate looks closely)"
        )


def check_images(job: Job) -> ImageCheck | None:
    """Draw a few concepts with the adapter as it stands and judge them beside the base's, which are kept.

    None where the configuration wants none, and, with a word why, where there is nobody to judge: nothing is fetched.
    """
    wanted = job.config.callbacks.evaluation
    if not wanted.prompts or job.max_steps < wanted.from_steps:
        return None
    try:
        config = judge_named(judge_of(job.config.model.path))
        judge = ImageJudge(config, job.decision.device, fetch=False)
    except ConfigError as reason:
        echo(f"images are not judged: {reason}")
        return None
    names = names_of(job.prepared, job.config.data.caption.replace("{style}", str(job.config.data.source)))
    prompts = names.prompts(wanted.prompts)
    sampler = _sampler(job, [prompt.caption for prompt in prompts])
    tuned = sampler.draw(job.module, "to be judged")
    base = _base(job, sampler)
    eye = NameJudge(judge, names)
    concepts = [prompt.concept for prompt in prompts]
    ranks = [eye.ranks(images, concepts) for images in (base, tuned)]
    usable = [[bool(found) for found in look_at(images, cut_out)] for images in (base, tuned)]
    found = [recognised(r, concepts) | {"usable": mean_over(u, concepts)} for r, u in zip(ranks, usable, strict=True)]
    if any(math.isnan(figure.value) for figures in found for figure in figures.values()):
        return None
    images = [
        Judged(prompt.text, prompt.concept, float(before), float(after), *well)
        for prompt, before, after, *well in zip(prompts, *ranks, *usable, strict=True)
    ]
    before, after, change = (
        {key: figure.estimate() for key, figure in part.items()} for part in (*found, differences(found[1], found[0]))
    )
    result = ImageCheck(config.towers, len(prompts), sampler.config.lora_scale, before, after, change, images)
    echo(str(result))
    return result


def names_of(prepared: Prepared, template: str) -> Names:
    """The names of a run's set, from what it has encoded."""
    examples = [*prepared.training, *prepared.held_out]
    held_out = frozenset(example.concept for example in prepared.held_out)
    return Names(
        [bare_text(example.caption, template) for example in examples],
        [example.concept for example in examples],
        [example.caption for example in examples],
        held_out,
        "",
    )


def _sampler(job: Job, captions: list[str]) -> Sampler:
    samples, wanted = job.config.callbacks.samples, job.config.callbacks.evaluation
    return Sampler(
        SamplesConfig(
            prompts=captions, seed=0, every_steps=None, inference_steps=wanted.inference_steps,
            guidance_scale=samples.guidance_scale, lora_scale=samples.lora_scale, scheduler=samples.scheduler,
        ),
        partial(components.load_vae, job.base, torch.float32, "cpu", variant=job.config.model.variant),
        job.prepared,
        components.load_scheduler(job.base).config,
        job.config.data.resolution,
        job.sampler.base_key,
    )  # fmt: skip


def _base(job: Job, sampler: Sampler) -> list[Image.Image]:
    """The base model's images: drawn once for each base, whatever is fine-tuned from it."""
    key = repr((sampler.base_key, sampler.config.prompts, sampler.config.inference_steps,
                sampler.config.guidance_scale, sampler.config.scheduler, sampler.resolution))  # fmt: skip
    folder = Path(job.config.run.cache_dir) / "drawings" / f"check-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    files = [folder / f"{number:02d}.png" for number in range(len(sampler.config.prompts))]
    try:
        return [_open(file) for file in files]
    except OSError:  # missing or damaged
        with without_adapter(job.module.unet):
            images = sampler.draw(job.module, "with the base model, to be judged", sampler.base_text)
        for image, file in zip(images, files, strict=True):
            save_png(image, file)
        return images


def _open(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        return opened.convert("RGB")
