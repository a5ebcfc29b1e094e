"""Captions for images that have none, by a model of the Hub, written beside them for a person to edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from emote.config import Accelerator, Precision, key
from emote.data.images import BadImage, decode, suffixes
from emote.data.reading.files import Directory, printable, suffix_of
from emote.util.console import console, echo, progress_bar
from emote.util.errors import ConfigError
from emote.util.files import write_text

SIDE_PX = 384  # what such models look at
QUESTION = "Describe this emoji in a few words."

Captioner = Callable[[list[Image.Image]], list[str]]
"""RGB images to a caption each."""


@dataclass
class CaptionOptions:
    path: str = key("the directory with the images")
    model: str = key("a captioner of the Hub or a directory: BLIP, Florence-2, or a small vision-language model",
                     default="Salesforce/blip-image-captioning-base")  # fmt: skip
    overwrite: bool = key("caption images again that have a .txt", default=False)
    background: str = key("colour under transparency", default="white")
    batch: int = key("images at once", at_least=1, default=8)
    max_tokens: int = key("longest caption", at_least=1, default=30)
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)


def caption_folder(options: CaptionOptions) -> int:
    """Write a `.txt` beside each image of a directory that has none; returns 1 where an image could not be read.

    Raises ConfigError for a directory without images and a model that cannot be loaded.
    """
    root = Path(options.path).expanduser()
    if not root.is_dir():
        raise ConfigError(f"path must be a directory with images, got {options.path}")
    names = [name for name in Directory(root).names if suffix_of(name) in suffixes()]
    if not names:
        raise ConfigError(f"path={options.path} holds no images")
    wanted = [name for name in names if options.overwrite or not (root / name).with_suffix(".txt").exists()]
    bad = 0
    if wanted:
        captioner = load_captioner(options.model, options.device, options.max_tokens)
        with progress_bar(console) as bar:
            task = bar.add_task("captioning", total=len(wanted), note="")
            for first in range(0, len(wanted), options.batch):
                images: dict[str, Image.Image] = {}
                for name in wanted[first : first + options.batch]:
                    try:
                        images[name] = _flat(decode((root / name).read_bytes(), SIDE_PX), options.background)
                    except (BadImage, OSError) as error:
                        echo(f"warning: {printable(name)} has no caption: {error}")
                        bad += 1
                for name, caption in zip(images, captioner(list(images.values())) if images else [], strict=True):
                    write_text((root / name).with_suffix(".txt"), f"{caption}\n")
                bar.update(task, completed=min(len(wanted), first + options.batch))
    echo(f"{len(wanted) - bad} of {len(names)} images were captioned; read and edit the .txt files before you train")
    return 1 if bad else 0


def load_captioner(model: str, device: Accelerator = Accelerator.cpu, max_tokens: int = 30) -> Captioner:
    """A captioner by its name on the Hub or its directory, from safetensors, without any code of its own.

    Raises ConfigError where it is not to be had, or is no model that turns images into text.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from emote.models.device import choose
    from emote.util.quiet import quiet_libraries

    quiet_libraries()

    place, _ = choose(device, Precision.float32)
    try:
        processor: Any = AutoProcessor.from_pretrained(model)
        network: Any = AutoModelForImageTextToText.from_pretrained(model, use_safetensors=True).to(place).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"model={model} cannot be loaded as a captioner: {reason}") from error

    @torch.inference_mode()
    def caption(images: list[Image.Image]) -> list[str]:
        inputs = _inputs(processor, network, images).to(place)
        tokens = network.generate(**inputs, max_new_tokens=max_tokens, do_sample=False, num_beams=1)
        if not network.config.is_encoder_decoder and "input_ids" in inputs and _is_chat(processor):
            tokens = tokens[:, inputs["input_ids"].shape[1] :]  # what was asked comes first
        return [_tidy(text) for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    return caption


def _is_chat(processor: Any) -> bool:
    return bool(getattr(processor, "chat_template", None))


def _inputs(processor: Any, network: Any, images: Sequence[Image.Image]) -> Any:
    """A model that chats is asked, Florence-2 has a word for it, and a plain captioner needs none."""
    if _is_chat(processor):
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        asked = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return processor(
            images=[[image] for image in images], text=[asked] * len(images), padding=True, return_tensors="pt"
        )
    if "florence" in network.config.model_type:
        return processor(images=list(images), text=["<CAPTION>"] * len(images), return_tensors="pt")
    return processor(images=list(images), return_tensors="pt")


def _flat(image: Image.Image, background: str) -> Image.Image:
    flat = Image.new("RGB", image.size, background)
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(" .")
