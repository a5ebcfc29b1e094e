"""What a model card tells, read from what a run left; everything in it may be published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emote.config import RANDOM_BACKGROUND, is_hub_name
from emote.data.background import is_white
from emote.inference.prompt_template import PLACE
from emote.inference.resolve_adapter import ADAPTER_FILE, ART_LICENCES, BASE_LICENCES, BEST
from emote.util.places import bundled

MINIATURE = "weights/mini"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
# base model → the Hub's name of its licence, and ours
LICENCES = {
    MINIATURE: ("cc-by-sa-4.0", BASE_LICENCES[MINIATURE]),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (
        "creativeml-openrail-m", BASE_LICENCES["stable-diffusion-v1-5/stable-diffusion-v1-5"],
    ),
    SDXL: ("openrail++", "CreativeML Open RAIL++-M (Stable Diffusion XL)"),
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """config, summary: as published, without this machine's paths. files: paths in the repository.

    evaluation: what `emote evaluate` found; {} where nothing was evaluated.
    """

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    repository: str
    files: frozenset[str]
    base_is_local: bool
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def base(self) -> str:
        return str(self.config["model"]["path"])

    @property
    def base_licence(self) -> tuple[str | None, str]:
        """The Hub's name, None where that is not known, and words."""
        return LICENCES.get(self.base, (None, f"the terms of {Path(self.base).name}"))

    @property
    def is_xl(self) -> bool:
        return bool(re.search(r"(?:^|[^a-z]|sd)xl(?:[^a-z]|$)", Path(self.base).name.lower()))

    @property
    def data_name(self) -> str:
        data = self.config["data"]
        names = {"openmoji": "OpenMoji", "twemoji": "Twemoji"}
        return names.get(str(data["source"])) or str(data.get("path") or "images")

    @property
    def data_licence(self) -> str:
        data = self.config["data"]
        return data.get("licence") or ART_LICENCES.get(str(data["source"]), f"the terms of {self.data_name}")

    @property
    def dataset(self) -> str | None:
        """The training set's name on the Hub, where it is one."""
        data = self.config["data"]
        name = str(data.get("path") or "")
        return name if str(data["source"]) == "hub" and is_hub_name(name) else None

    @property
    def caption(self) -> str:
        """The template of the training captions."""
        data = self.config["data"]
        return str(data["caption"]).replace("{style}", str(data["source"]))

    @property
    def trigger(self) -> str | None:
        """Words that all captions share, the last ones where there are some before and after; None without any."""
        return next((words for part in reversed(self.caption.split(PLACE)) if (words := part.strip(" ,."))), None)

    @property
    def prompts(self) -> list[str]:
        return [str(prompt) for prompt in self.config["callbacks"]["samples"]["prompts"]]

    @property
    def example(self) -> str:
        return self.prompts[0] if self.prompts else self.caption.replace(PLACE, "a happy robot")

    @property
    def seed(self) -> int:
        """Of the example."""
        return int(self.config["callbacks"]["samples"]["seed"])

    @property
    def scale(self) -> float:
        """The adapter's strength in the images of the card."""
        return float(self.config["callbacks"]["samples"].get("lora_scale", 1.0))  # older runs had no such key

    @property
    def strength(self) -> float:
        """How strong the adapter should be used: as its evaluation recommends, else as in the card's images."""
        recommended = self.evaluation.get("recommended")
        return float(recommended["lora_scale"]) if recommended else self.scale

    @property
    def side_px(self) -> int:
        return int(self.config["data"]["resolution"])

    @property
    def only_white(self) -> bool:
        background = str(self.config["data"]["background"])
        return background != RANDOM_BACKGROUND and is_white(background)

    @property
    def best_step(self) -> int | None:
        """The step with the lowest held-out loss, where that is not the last."""
        found = [re.match(rf"{BEST}(\d+)/", file) for file in self.files]
        return max((int(match[1]) for match in found if match), default=None)

    @property
    def adapter_file(self) -> str:
        return ADAPTER_FILE

    @property
    def kohya_file(self) -> str:
        """The one for ComfyUI and A1111."""
        others = sorted(f for f in self.files if f.endswith(".safetensors") and "/" not in f and f != ADAPTER_FILE)
        return others[0] if others else ADAPTER_FILE


def is_local(model_path: str) -> bool:
    """Return whether a base model, as its run named it, lies on a disk and not on the Hub."""
    path = Path(model_path).expanduser()
    return not is_hub_name(model_path) or path.suffix == ".safetensors" or path.exists() or bundled(model_path).exists()
