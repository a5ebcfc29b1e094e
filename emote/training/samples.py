"""The fixed prompts of a run, drawn by the base model and by the adapter with the same noise."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from emote.config import SamplesConfig
from emote.data.cache import TextEmbeddings
from emote.data.prepared import Prepared
from emote.diffusion.generate import BATCH, generate
from emote.lora.adapter import adapter_scaled, without_adapter
from emote.runs.run_folder import title_of
from emote.training.callbacks.progress import progress_bar
from emote.training.module import LoraModule
from emote.util.errors import ConfigError
from emote.util.files import write_with
from emote.util.memoize import memoize


class Sampler:
    """Holds the VAE on the CPU between uses; the training step needs the device's memory more."""

    def __init__(
        self,
        config: SamplesConfig,
        load_vae: Callable[[], AutoencoderKL],
        prepared: Prepared,
        noise_schedule: Any,
        resolution: int,
        base_key: str,
    ) -> None:
        """base_key: what the base model's images depend on beside the prompts and settings."""
        self.config = config
        self.load_vae = load_vae
        self.text = prepared.drawn_text or prepared.text
        self.base_text = prepared.base_text or prepared.text
        self.noise_schedule = noise_schedule
        self.resolution = resolution
        self.seeds = [config.seed + i for i in range(len(config.prompts))]
        self._vae: AutoencoderKL | None = None
        self.base_key = base_key

    def draw(self, module: LoraModule, what: str, text: TextEmbeddings | None = None) -> list[Image.Image]:
        """Return the adapter's images, in the order of the prompts. text: None for what the adapter is drawn with."""
        text = text or self.text
        if not self.config.prompts:
            return []
        if self._vae is None:
            self._vae = self.load_vae()
        was_training = module.training
        module.eval()
        self._vae.to(module.device)
        with progress_bar() as bar:
            task = bar.add_task(f"drawing {what}", total=len(self.seeds), note="")
            with module.evaluation_weights(), adapter_scaled(module.unet, self.config.lora_scale):
                images = generate(
                    module.unet,
                    self._vae,
                    self.noise_schedule,
                    torch.stack([text.get(prompt) for prompt in self.config.prompts]),
                    text.get(""),
                    self.seeds,
                    resolution=self.resolution,
                    inference_steps=self.config.inference_steps,
                    guidance_scale=self.config.guidance_scale,
                    scheduler=self.config.scheduler,
                    on_batch=lambda done: bar.update(task, completed=done),
                )
        module.train(was_training)
        self._vae.to("cpu")
        gc.collect()
        return images

    def base(self, module: LoraModule) -> list[Image.Image]:
        """Return the base model's images, drawn once a process."""
        key = repr((self.base_key, self.config, self.resolution))
        with without_adapter(module.unet):
            return memoize(key, lambda: self.draw(module, "with the base model", self.base_text))

    def write_sheet(
        self, path: Path, module: LoraModule, title: str, singles: Path | None = None, model: str = "", run: str = ""
    ) -> tuple[list[Image.Image], list[Image.Image]]:
        """Return the before/after sheet; with `singles` also each image, its settings in the PNG's text.

        Returns the base model's images and the adapter's.

        model: what the base is called. run: what `run=` will find the adapter by.
        """
        from emote.imaging.sheet import before_after_sheet  # late: training itself shows nothing
        from emote.inference.png_metadata import save_png

        tuned = self.draw(module, "with the adapter")
        base = self.base(module)
        sheet = before_after_sheet(
            base, tuned, self.config.prompts, self.seeds, title, lora_scale=self.config.lora_scale
        )
        info = PngInfo()
        info.add_text("Title", title)
        write_with(path, lambda temporary: sheet.save(temporary, format="PNG", pnginfo=info))
        if singles is not None:
            for kind, images in (("base", base), ("fine-tuned", tuned)):
                for i, image in enumerate(images):
                    save_png(image, singles / f"{i:02d}-{kind}.png", self._text(i, kind == "fine-tuned", model, run))
        return base, tuned

    def _text(self, index: int, tuned: bool, model: str, run: str) -> str | None:
        """How an image was drawn; None for the empty prompt, which nobody can ask for again."""
        from emote.inference.png_metadata import Parameters, write_parameters
        from emote.inference.request import Request

        try:
            request = Request(
                prompt=self.config.prompts[index],
                seed=self.seeds[index],
                width=self.resolution,
                height=self.resolution,
                inference_steps=self.config.inference_steps,
                guidance_scale=self.config.guidance_scale,
                scheduler=self.config.scheduler,
                lora_scale=self.config.lora_scale if tuned else 0.0,
            )
        except ConfigError:
            return None
        name = title_of(run.partition("/")[0])
        return write_parameters(
            Parameters(request, model, lora=name, run=run, batch_size=BATCH, batch_position=index % BATCH)
        )
