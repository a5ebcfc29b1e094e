"""Who looks at images: an image tower and a text tower that taught the base model nothing.

They are named in conf/evaluation, one file for each family of base models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch.nn import functional as F
from yaml import YAMLError

from emote.util.errors import ConfigError
from emote.util.hints import nearest
from emote.util.places import CONF, bundled

JUDGES = CONF / "evaluation"
BATCH = 64
JUDGE_SIDE_PX = 128  # of the miniature's judge, whose image tower takes any size
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLACE = "{text}"


@dataclass(frozen=True)
class JudgeConfig:
    """A file of conf/evaluation. towers: a folder or a Hub name. eye: what compares images; None: the image tower.

    caption: how the text tower was taught names. away: prompts outside every set, to see what was forgotten.
    """

    name: str
    towers: str
    eye: str | None
    caption: str
    away: tuple[str, ...]


def judge_named(name: str) -> JudgeConfig:
    """What `judge=` says: an option of conf/evaluation, or a YAML file that is as they are.

    Raises ConfigError, with the nearest name.
    """
    known = sorted(path.stem for path in JUDGES.glob("*.yaml"))
    file = Path(name).expanduser() if name.endswith(".yaml") else JUDGES / f"{name}.yaml"
    if not name or not file.is_file():
        close = nearest(name, known)
        hint = f"; did you mean {close}?" if close else ""
        raise ConfigError(f"judge must be one of {', '.join(known)} or a YAML file, got {name or 'nothing'}{hint}")
    try:
        told = OmegaConf.to_container(OmegaConf.load(file))
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise ConfigError(f"judge: {file} cannot be read: {str(error).splitlines()[0]}") from error
    names = {entry.name for entry in fields(JudgeConfig)} - {"name"}
    if not isinstance(told, dict) or set(told) != names or PLACE not in str(told["caption"]):
        raise ConfigError(f"judge: {file} must have the keys {', '.join(sorted(names))}, and {PLACE} in its caption")
    return JudgeConfig(file.stem, str(told["towers"]), told["eye"], str(told["caption"]), tuple(map(str, told["away"])))


def judge_of(base_path: str) -> str:
    """The judge of a base model where none is named: the miniature has its own, all others have that of sd15."""
    return "mini" if base_path == "weights/mini" or Path(base_path).name == "mini" else "sd15"


class ImageJudge:
    """Embeds images and names to one space, and images alone to another in which likeness is compared."""

    def __init__(self, config: JudgeConfig, device: torch.device | str = "cpu", fetch: bool = True) -> None:
        """fetch: whether what is not on this machine is downloaded. Raises ConfigError where a tower cannot be had."""
        self.config, self.device, self.fetch = config, torch.device(device), fetch
        self._towers = load_towers(config.towers, self.device, fetch)

    @property
    def label(self) -> str:
        return self.config.towers

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """[N, D], unit vectors, float32: where names are near."""
        return _in_batches(self._towers.embed_images, images)

    def embed_likeness(self, images: Sequence[Image.Image]) -> np.ndarray:
        """[N, E], unit vectors, float32: where images that look alike are near."""
        return _in_batches(self._eye, images)

    @cached_property
    def _eye(self) -> Callable[[Sequence[Image.Image]], torch.Tensor]:
        # late: a look at whether images are recognised does not need it
        config = self.config
        return load_eye(config.eye, self.device, self.fetch) if config.eye else self._towers.embed_images

    def embed_names(self, names: Sequence[str]) -> np.ndarray:
        """[M, D], unit vectors, float32."""
        captions = [self.config.caption.replace(PLACE, name) for name in names]
        return _in_batches(self._towers.embed_texts, captions)


def _in_batches(embed: Callable[[Any], torch.Tensor], things: Sequence[Any]) -> np.ndarray:
    parts = [embed(things[start : start + BATCH]).cpu() for start in range(0, len(things), BATCH)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, 1), dtype=np.float32)


@dataclass(frozen=True)
class Towers:
    """Functions from at most BATCH images or texts to unit vectors [B, D], float32."""

    embed_images: Callable[[Sequence[Image.Image]], torch.Tensor]
    embed_texts: Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class Preparation:
    """How a tower takes images: side in pixels, and mean and deviation of each channel of 0 to 1."""

    side_px: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __call__(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """[B, 3, side, side]"""
        side = (self.side_px, self.side_px)
        resized = [image.convert("RGB").resize(side, Image.Resampling.BICUBIC) for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2) / 255
        return (pixels - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.deviation).view(3, 1, 1)


def load_towers(name: str, device: torch.device, fetch: bool = True) -> Towers:
    """From a base model's folder with a judge in it (or with an image encoder, where it has no judge of its own), or
    from a CLIP, a folder or a Hub name. Raises ConfigError.
    """
    path = _find(name)
    if path and (path / "judge").is_dir():
        return _load_judge(path, device)
    if path and (path / "image_encoder").is_dir():
        return _load_parts(path, device)
    return _load_clip(str(path or name), device, fetch)


def _find(name: str) -> Path | None:
    """A folder, as it is named or beside conf/; None for a Hub name. Raises ConfigError for neither."""
    for path in (Path(name).expanduser(), bundled(name)):
        if path.is_dir():
            return path
    if not HUB_NAME.fullmatch(name):
        raise ConfigError(f"judge: {name} is no folder here and no Hub name")
    return None


def _load_judge(path: Path, device: torch.device) -> Towers:
    """judge/text, judge/vision and the projection of the latter; its words are cut as those of the base model."""
    from safetensors.torch import load_file
    from transformers import AutoModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = path / "judge"
    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer")
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text", use_safetensors=True)
    vision = AutoModel.from_pretrained(folder / "vision", use_safetensors=True)
    text, vision = text.float().to(device).eval(), vision.float().to(device).eval()
    projection_PD = load_file(folder / "projection.safetensors")["visual_projection.weight"].float().to(device)
    prepare = Preparation(getattr(vision.config, "image_size", JUDGE_SIDE_PX))

    @torch.inference_mode()
    def embed_images(images: Sequence[Image.Image]) -> torch.Tensor:
        pooled = vision(pixel_values=prepare(images).to(device)).pooler_output.flatten(1)
        return F.normalize(pooled @ projection_PD.T, dim=-1)

    @torch.inference_mode()
    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        return F.normalize(text(_tokenize(tokenizer, texts).to(device)).text_embeds, dim=-1)

    return Towers(embed_images, embed_texts)


def _load_parts(path: Path, device: torch.device) -> Towers:
    from safetensors.torch import load_file
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer")
    text = CLIPTextModel.from_pretrained(path / "text_encoder", use_safetensors=True).float().to(device).eval()
    vision = CLIPVisionModelWithProjection.from_pretrained(path / "image_encoder", use_safetensors=True)
    vision = vision.float().to(device).eval()
    projection_PD = load_file(path / "image_encoder" / "text_projection.safetensors")["text_projection.weight"]
    projection_PD = projection_PD.float().to(device)
    prepare = Preparation(vision.config.image_size)

    @torch.inference_mode()
    def embed_images(images: Sequence[Image.Image]) -> torch.Tensor:
        return F.normalize(vision(pixel_values=prepare(images).to(device)).image_embeds.float(), dim=-1)

    @torch.inference_mode()
    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        tokens = _tokenize(tokenizer, texts).to(device)
        return F.normalize(text(tokens).pooler_output.float() @ projection_PD.T, dim=-1)

    return Towers(embed_images, embed_texts)


def _load_clip(name: str, device: torch.device, fetch: bool) -> Towers:
    from transformers import AutoTokenizer, CLIPModel

    here: dict[str, Any] = {"local_files_only": not fetch}
    clip = _from_pretrained(lambda: CLIPModel.from_pretrained(name, use_safetensors=True, **here), name).float()
    clip = clip.to(device).eval()
    tokenizer = _from_pretrained(lambda: AutoTokenizer.from_pretrained(name, **here), name)
    prepare = _preparation(name, clip.config.vision_config.image_size)

    @torch.inference_mode()
    def embed_images(images: Sequence[Image.Image]) -> torch.Tensor:
        pooled = clip.vision_model(pixel_values=prepare(images).to(device)).pooler_output
        return F.normalize(clip.visual_projection(pooled), dim=-1)

    @torch.inference_mode()
    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        pooled = clip.text_model(_tokenize(tokenizer, texts).to(device)).pooler_output
        return F.normalize(clip.text_projection(pooled), dim=-1)

    return Towers(embed_images, embed_texts)


def load_eye(name: str, device: torch.device, fetch: bool = True) -> Callable[[Sequence[Image.Image]], torch.Tensor]:
    """An image model by itself, such as DINOv2: images to the unit vectors of its first token. Raises ConfigError."""
    from transformers import AutoModel

    found = str(_find(name) or name)
    model = _from_pretrained(
        lambda: AutoModel.from_pretrained(found, use_safetensors=True, local_files_only=not fetch), name
    )
    model = model.float().to(device).eval()
    prepare = _preparation(found, 224)

    @torch.inference_mode()
    def embed(images: Sequence[Image.Image]) -> torch.Tensor:
        return F.normalize(model(pixel_values=prepare(images).to(device)).last_hidden_state[:, 0], dim=-1)

    return embed


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    most = min(int(tokenizer.model_max_length), 77)
    return tokenizer(list(texts), padding="max_length", max_length=most, truncation=True, return_tensors="pt").input_ids


def _preparation(name: str, side_px: int) -> Preparation:
    """What preprocessor_config.json says; CLIP's numbers where there is none."""
    from transformers.utils import cached_file

    try:
        file = cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        told = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError):
        told = {}
    mean, deviation = told.get("image_mean", CLIP_MEAN), told.get("image_std", CLIP_DEVIATION)
    return Preparation(side_px, tuple(mean), tuple(deviation))


def _from_pretrained(load: Callable[[], Any], name: str) -> Any:
    try:
        return load()
    except (OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ConfigError(
            f"judge: {name} is not on this machine and cannot be fetched ({reason}); judge=mini needs no download"
        ) from error
