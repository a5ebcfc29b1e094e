"""Base models by name, and what sizes they draw; without loading any weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from emote.config import ModelConfig
from emote.util.errors import ConfigError
from emote.util.hints import did_you_mean, nearest
from emote.util.places import CONF

PRESETS = CONF / "model"
SHORT_HASH = 10  # hex digits, as A1111 shows them
LATENTS_SIDE = 64  # of Stable Diffusion 1


@dataclass(frozen=True)
class Base:
    """A base model on this disk. side_px: what it draws best; multiple_px: what sizes must be divisible by."""

    path: Path
    config: ModelConfig
    label: str
    side_px: int
    multiple_px: int
    cache_dir: Path | None = None

    @cached_property
    def short_hash(self) -> str:
        """Of the UNet's weights and configuration, as long as A1111's `Model hash`; remembered in cache_dir."""
        from emote.models.weights import fingerprint

        digest = fingerprint(self.path, "unet", variant=self.config.variant, cache_dir=self.cache_dir)
        return digest[:SHORT_HASH]

    def check_size(self, width: int, height: int) -> None:
        """Raises ConfigError for sizes that the model has no latents for."""
        for side in (width, height):
            if side % self.multiple_px or side < self.multiple_px:
                lower = side // self.multiple_px * self.multiple_px
                advice = f"{lower} or {lower + self.multiple_px}" if lower else str(self.multiple_px)
                raise ConfigError(
                    f"size must be divisible by {self.multiple_px} (one latent covers "
                    f"{self.multiple_px}×{self.multiple_px} pixels), got {side}; use {advice}"
                )


def model_named(name: str) -> ModelConfig:
    """Return what `model=` names: an option of conf/model, a diffusers directory, a single file or a Hub name.

    Raises ConfigError for what can be none of these.
    """
    known: dict[str, Any] = dict.fromkeys((entry.name for entry in fields(ModelConfig)), None)
    preset = PRESETS / f"{name}.yaml"
    if re.fullmatch(r"[\w-]+", name) and preset.is_file():
        return ModelConfig(**known | dict(OmegaConf.load(preset)))
    if name and ("/" in name or Path(name).exists()):
        return ModelConfig(**known | {"path": name})
    options = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    raise ConfigError(
        f"model must be {', '.join(options)}, a diffusers directory, a .safetensors file or a Hub name, "
        f"got {name or 'nothing'}{did_you_mean(nearest(name, options))}"
    )


def find_base(model: ModelConfig, cache_dir: Path | None = None) -> Base:
    """Return where a base model lies (downloaded if need be) and which sizes it draws. Raises ConfigError."""
    from emote.models.locate import HERE_WORKS, locate  # late: it imports torch

    try:
        path = locate(model)
    except ConfigError as error:
        text = str(error).replace("model.path", "model")
        raise ConfigError(text.replace(HERE_WORKS, "model=mini works without any download")) from error
    blocks = _read(path / "vae" / "config.json").get("block_out_channels", [0] * 4)
    multiple = 2 ** (len(blocks) - 1)
    latents = _read(path / "unet" / "config.json").get("sample_size")
    side = (latents if isinstance(latents, int) else LATENTS_SIDE) * multiple
    return Base(path, model, base_label(model), side, multiple, cache_dir)


def base_label(model: ModelConfig) -> str:
    """Return what a base model is called where others read it: a Hub name or relative path, of others the last part."""
    path = Path(model.path).expanduser()
    if path.suffix == ".safetensors":
        return path.stem
    return path.name if path.is_absolute() else model.path


def _read(file: Path) -> dict[str, Any]:
    values = json.loads(file.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}
