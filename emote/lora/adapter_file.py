"""What an adapter file is, told by its header alone, and its layers, read from it.

Any LoRA of a Stable Diffusion is read, whoever wrote it; what is something else is named, with what to do. No file is
ever unpickled.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from emote.lora.base_family import Base, base_of_layers
from emote.lora.layer_names import ALPHA, DOWN, MAGNITUDE, PARTS, UP, is_kohya, layer_name, split_key
from emote.util.errors import ConfigError
from emote.util.tensor_file import Header, look

LORA_ADAPTER_METADATA_KEY = "lora_adapter_metadata"  # as diffusers.loaders.lora_base, which takes seconds to import
SHOWN = 3  # names in a message


class Format(Enum):
    """The value is how a table names it."""

    diffusers = "diffusers (lora_A, lora_B)"
    diffusers_old = "diffusers, before its release 0.22 (lora.down, lora.up)"
    kohya = "kohya (lora_down, lora_up, alpha)"
    dora = "DoRA (dora_scale)"
    lycoris = "LyCORIS"
    checkpoint = "whole model"
    unknown = "no adapter"


# what tensors' names hold → which kind of LyCORIS they are (KohakuBlueleaf/LyCORIS, lycoris/modules)
LYCORIS = {
    r"\.hada_": "LoHa", r"\.lokr_": "LoKr", r"\.oft_": "OFT", r"\.lora_mid\.": "LoCon with a core tensor",
    r"\.on_input$": "IA3", r"\.a1\.weight$": "GLoRA", r"\.diff(_b)?$": "full differences",
}  # fmt: skip
DORA = re.compile(r"\.dora_scale$")
CHECKPOINT = re.compile(
    r"(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\."
    r"|(down_blocks|up_blocks|mid_block)\.[\w.]*\.(conv1|to_q|proj_in)\.weight"
    r"|(text_model\.)?encoder\.layers\.\d+\.mlp\.fc1\.weight|(encoder|decoder)\.mid_block\."
)


@dataclass(frozen=True)
class Layer:
    """One adapted layer: its weight changes by alpha / rank · up · down.

    down: [rank, in] or [rank, in, k, k]; up: [out, rank] or [out, rank, 1, 1].
    magnitude: of a DoRA, [out] or [1, out, 1, 1]: the norm of each of the changed weight's rows.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    magnitude: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class Adapter:
    """Layers by their one name (see layer_names), and where they were read from a file its format and texts."""

    layers: dict[str, Layer]
    base: Base
    format: Format | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_dora(self) -> bool:
        return any(layer.magnitude is not None for layer in self.layers.values())

    def check_plain(self, what: str) -> None:
        """Raise ConfigError for a DoRA, which is more than a difference of weights."""
        if self.is_dora:
            raise ConfigError(f"a DoRA cannot be {what}: it is kept in diffusers' format alone")


@dataclass(frozen=True)
class AdapterFile:
    """What a file's header says. `keys`: the names of a layer's tensors by their roles, for every layer."""

    path: Path
    header: Header
    format: Format
    keys: dict[str, dict[str, str]]
    unmapped: list[str]
    problem: str | None

    def ranks(self) -> Counter[int]:
        return Counter(self.header.shapes[roles[DOWN]][1][0] for roles in self.keys.values() if DOWN in roles)

    def dtypes(self) -> Counter[torch.dtype]:
        return Counter(self.header.shapes[key][0] for roles in self.keys.values() for key in roles.values())

    def parts(self) -> dict[str, int]:
        """Return how many layers of each part of the pipeline are adapted."""
        counts = Counter(name.split(".")[0] for name in self.keys)
        return {part: counts[part] for part in PARTS if counts[part]}

    @cached_property
    def base(self) -> Base:
        shapes = self.header.shapes
        return base_of_layers({name: shapes[roles[DOWN]][1] for name, roles in self.keys.items() if DOWN in roles})

    def load(self) -> Adapter:
        """Return the layers. Raises ConfigError where the file is no adapter that is supported, or is not whole."""
        if self.problem:
            raise ConfigError(f"{self.path} {self.problem}")
        described = read_description(self.header.metadata)
        layers = {}
        with safe_open(str(self.path), framework="pt") as file:
            for name, roles in sorted(self.keys.items()):
                down, up = file.get_tensor(roles[DOWN]), file.get_tensor(roles[UP])
                given = float(file.get_tensor(roles[ALPHA])) if ALPHA in roles else None
                alpha = given if given is not None else described_alpha(described, name, down.shape[0])
                magnitude = file.get_tensor(roles[MAGNITUDE]) if MAGNITUDE in roles else None
                layers[name] = Layer(down, up, alpha, magnitude)
        broken = [name for name, layer in layers.items() if not (_finite(layer.down) and _finite(layer.up))]
        if broken:
            raise ConfigError(f"{self.path} is broken: {len(broken)} layers hold NaN or infinity, such as {broken[0]}")
        return Adapter(layers, self.base, self.format, self.header.metadata)


def open_adapter(path: Path) -> AdapterFile:
    """Look at a file. Raises ConfigError where it is no whole safetensors file; `problem` says what else is wrong."""
    header = look(path)
    names = header.shapes.keys()
    keys: dict[str, dict[str, str]] = {}
    unmapped, as_named = [], set()
    for key in sorted(names):
        split = split_key(key)
        layer = layer_name(split[0]) if split else None
        if split is None or layer is None:
            unmapped.append(key)
            continue
        keys.setdefault(layer, {})[split[1]] = key
        as_named.add(split[0])
    kind = _format(names, as_named)
    problem = _problem(kind, header, keys, unmapped)
    return AdapterFile(path, header, kind, keys, unmapped, problem)


def read_adapter(path: Path) -> Adapter:
    """Return the layers of an adapter file of any format. Raises ConfigError where it cannot be used, and says why."""
    return open_adapter(path).load()


def read_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    """peft's settings as diffusers keeps them in a header, under `unet.…` and `text_encoder.…`; {} where it has none.

    Raises ConfigError where they cannot be read, because alpha would be lost.
    """
    try:
        described = json.loads(metadata.get(LORA_ADAPTER_METADATA_KEY) or "{}")
    except ValueError as error:
        raise ConfigError(f"{LORA_ADAPTER_METADATA_KEY} in its header is not JSON: {error}") from error
    return described if isinstance(described, dict) else {}


def described_alpha(described: Mapping[str, Any], name: str, rank: int) -> float:
    """Return a layer's alpha by peft's settings; alpha = rank without any, as diffusers has it."""
    alpha = float(setting(described, name, "lora_alpha", "alpha_pattern", rank))
    # rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank
    return alpha * math.sqrt(rank) if described.get(f"{name.split('.')[0]}.use_rslora") else alpha


def setting(described: Mapping[str, Any], name: str, key: str, pattern_key: str, default: Any) -> Any:
    """Return what peft's settings say for a layer: by the first of the patterns that fits its name, else for all."""
    part, module = name.split(".", 1)
    for pattern, value in (described.get(f"{part}.{pattern_key}") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):  # peft.utils.other.get_pattern_key
            return value
    return described.get(f"{part}.{key}", default)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())


def _format(names: Any, layers: set[str]) -> Format:
    if any(DORA.search(name) for name in names):
        return Format.dora
    if any(re.search(marker, name) for name in names for marker in LYCORIS):
        return Format.lycoris
    if any(is_kohya(layer) for layer in layers):
        return Format.kohya
    if any(name.endswith(".lora_A.weight") for name in names):
        return Format.diffusers
    if layers:
        return Format.diffusers_old
    return Format.checkpoint if any(CHECKPOINT.match(name) for name in names) else Format.unknown


def _problem(kind: Format, header: Header, keys: dict[str, dict[str, str]], unmapped: list[str]) -> str | None:
    """Why a file cannot be used, as the end of a sentence that begins with its path."""
    if kind is Format.lycoris:
        found = sorted({what for marker, what in LYCORIS.items() for name in header.shapes if re.search(marker, name)})
        return f"is a LyCORIS file ({', '.join(found)}), which is not supported: only plain LoRA is"
    if kind is Format.dora:
        return (
            "is a DoRA in kohya's format, not read: its dora_scale lies along either axis, by tool and version, "
            "and readers compute it differently; a DoRA in diffusers' format is (lora_magnitude_vector)"
        )
    if kind is Format.checkpoint:
        return "is a whole model and no adapter; it belongs into model="
    if not keys:
        example = f"; it holds {', '.join(unmapped[:SHOWN])}{', …' if len(unmapped) > SHOWN else ''}" * bool(unmapped)
        other = any(split_key(key) for key in unmapped)
        return f"is {'a LoRA of no Stable Diffusion' if other else 'no adapter'}{example}"
    try:
        read_description(header.metadata)
    except ConfigError as error:
        return f"cannot be used: {error}"
    for name, roles in keys.items():
        if DOWN not in roles or UP not in roles:
            return f"is not whole: {name} has {' and '.join(sorted(roles))} alone"
        down, up = header.shapes[roles[DOWN]][1], header.shapes[roles[UP]][1]
        if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1] or not down[0] or set(up[2:]) - {1}:
            return f"is not whole: the matrices of {name}, {list(up)} and {list(down)}, cannot be multiplied"
    return None
