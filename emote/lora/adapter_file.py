"""What an adapter file is, told by its header alone, and its layers, read from it.

Any LoRA of a Stable Diffusion is read, whoever wrote it; what is something else is named, with what to do. A file that
changes a layer in a way that is not understood is refused as a whole, here and so wherever adapters are used: without
it the adapter would be another one. No file is ever unpickled.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from emote.lora.base_family import Base, base_of_layers
from emote.lora.description import described_alpha, problem_of, read_description, read_peft_config
from emote.lora.layer_names import (
    ALPHA,
    DOWN,
    MAGNITUDE,
    PARTS,
    PEFT_FILE,
    UP,
    has_part,
    is_flat,
    layer_name,
    split_key,
)
from emote.lora.peft_directory import peft_files
from emote.util.errors import ConfigError
from emote.util.hints import listed
from emote.util.tensor_file import Header, look

SHOWN = 3  # names in a message
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # as diffusers.loaders.lora_base, which takes seconds to import
log = logging.getLogger(__name__)


class Format(Enum):
    """The value is how a table names it."""

    diffusers = "diffusers (lora_A, lora_B)"
    diffusers_old = "diffusers, before its release 0.22 (lora.down, lora.up)"
    kohya = "kohya (lora_down, lora_up, alpha)"
    peft = "peft (base_model.model, adapter_config.json)"
    original = "ComfyUI or OneTrainer (original names)"
    dora = "DoRA (dora_scale)"
    lycoris = "LyCORIS"
    checkpoint = "whole model"
    unknown = "no adapter"


# what tensors' names hold → which kind of LyCORIS they are (KohakuBlueleaf/LyCORIS, lycoris/modules)
LYCORIS = {
    r"\.hada_": "LoHa", r"\.lokr_": "LoKr", r"\.(oft|boft)_": "OFT", r"\.lora_mid\.": "LoCon with a core tensor",
    r"\.on_input$": "IA3", r"\.[ab][12]\.weight$": "GLoRA", r"\.diff(_b)?$": "full differences",
    r"\.[wb]_norm$": "trained norms",
}  # fmt: skip
# what else changes a layer, or what it reads
MORE = {
    r"\.magnitude$": "the magnitudes of a DoRA under ai-toolkit's name", r"\.bias$": "trained biases",
    r"\.lora_embedding_[AB]": "tokens' embeddings", r"\.scalar$": "a learned strength of each layer",
    r"\.modules_to_save\.": "whole modules beside the LoRA",
}  # fmt: skip
DORA = re.compile(r"\.dora_scale$")
# changes no layer: OneTrainer packs the embeddings of trigger words into the file
EMBEDDING = re.compile(r"bundle_emb\.(.+)\.[a-z_0-9]+$")
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
    """What a file's header says. `keys`: the names of a layer's tensors by their roles, for every layer.

    described: peft's settings (see description); beside: whether they lie in a file of their own.
    embeddings: trigger words whose embeddings are in it and are not used.
    problem: why it cannot be used, as the end of a sentence that begins with its path.
    parted: the files that it consists of, where `path` is a directory with several of peft's.
    """

    path: Path
    header: Header
    format: Format
    keys: dict[str, dict[str, str]]
    described: dict[str, Any]
    beside: bool
    embeddings: list[str]
    problem: str | None
    parted: tuple[AdapterFile, ...] = ()

    @property
    def files(self) -> list[Path]:
        return [part.path for part in self.parted] or [self.path]

    def ranks(self) -> Counter[int]:
        return Counter(self.header.shapes[roles[DOWN]][1][0] for roles in self.keys.values() if DOWN in roles)

    def dtypes(self) -> Counter[torch.dtype]:
        return Counter(self.header.shapes[key][0] for roles in self.keys.values() for key in roles.values())

    def parts(self) -> dict[str, int]:
        """Return how many layers of each part of the pipeline are adapted."""
        counts = Counter(name.split(".")[0] for name in self.keys)
        return {part: counts[part] for part in PARTS if counts[part]}

    @property
    def has_alpha(self) -> bool:
        """Return whether alpha is stored; without, it is read as the rank."""
        told = any(key.split(".")[-1] in ("lora_alpha", "alpha_pattern") for key in self.described)
        return told or any(ALPHA in roles for roles in self.keys.values())

    @cached_property
    def base(self) -> Base:
        shapes = self.header.shapes
        return base_of_layers({name: shapes[roles[DOWN]][1] for name, roles in self.keys.items() if DOWN in roles})

    def load(self) -> Adapter:
        """Return the layers; what of the file has no effect is logged as a warning.

        Raises ConfigError where the file is no adapter that is supported, or is not whole.
        """
        if self.problem:
            raise ConfigError(f"{self.path} {self.problem}")
        if self.parted:
            layers = {name: layer for part in self.parted for name, layer in part.load().layers.items()}
            return Adapter(layers, self.base, self.format)
        layers = {}
        try:
            with safe_open(str(self.path), framework="pt") as file:
                for name, roles in sorted(self.keys.items()):
                    down, up = file.get_tensor(roles[DOWN]), file.get_tensor(roles[UP])
                    given = float(file.get_tensor(roles[ALPHA])) if ALPHA in roles else None
                    alpha = given if given is not None else described_alpha(self.described, name, down.shape[0])
                    magnitude = file.get_tensor(roles[MAGNITUDE]) if MAGNITUDE in roles else None
                    layers[name] = Layer(down, up, alpha, magnitude)
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{self.path} cannot be read: {error}") from error
        broken = [name for name, layer in layers.items() if not _is_finite(layer)]
        if broken:
            raise ConfigError(f"{self.path} is broken: {len(broken)} layers hold NaN or infinity, such as {broken[0]}")
        for note in self._notes():
            log.warning("%s %s", self.path, note)
        return Adapter(layers, self.base, self.format, self.header.metadata)

    def _notes(self) -> list[str]:
        notes = []
        if self.embeddings:
            notes.append(
                f"has embeddings of words ({listed(self.embeddings)}), which are not used: these words do less"
            )
        if self.format is Format.peft and not self.has_alpha:
            notes.append("has no adapter_config.json beside it, so its alpha is not known and is read as the rank")
        return notes


def find_adapter_file(path: Path) -> Path | None:
    """Return the adapter file that a path names, itself or by its directory; None where a directory has none.

    Of a directory: diffusers' file, else peft's, else the one safetensors file in it; the directory itself where it has
    peft's files of several parts, which belong together. Raises ConfigError where it holds several others.
    """
    if path.is_file():
        return path
    if (path / DIFFUSERS_FILE).is_file():
        return path / DIFFUSERS_FILE
    if parts := peft_files(path):
        return parts[0] if len(parts) == 1 else path
    if (path / "model_index.json").is_file():
        return None  # a base model's
    files = sorted(path.glob("*.safetensors"))
    if len(files) > 1:
        raise ConfigError(f"{path} has {len(files)} safetensors files; name one of {listed(f.name for f in files)}")
    if not files and (path / "adapter_model.bin").is_file():
        look(path / "adapter_model.bin")  # a pickle, which is refused unread
    return files[0] if files else None


def open_adapter(path: Path) -> AdapterFile:
    """Look at a file, or a directory with peft's of several parts.

    Raises ConfigError where it is no whole safetensors file; `problem` says what else is wrong.
    """
    if path.is_dir():
        return _together(path, [open_adapter(file) for file in peft_files(path)])
    header = look(path)
    keys: dict[str, dict[str, str]] = {}
    others: list[str] = []
    twice: list[str] = []
    as_named: set[str] = set()
    for key in sorted(header.shapes):
        split = split_key(key)
        layer = layer_name(_with_part(split[0], path)) if split else None
        if split is None or layer is None:
            others.append(key)
            continue
        if split[1] in keys.setdefault(layer, {}):
            twice.append(layer)
        keys[layer][split[1]] = key
        as_named.add(split[0])
    embeddings = sorted({found[1] for key in others if (found := EMBEDDING.match(key))})
    others = [key for key in others if not EMBEDDING.match(key)]
    kind = _format(header.shapes, as_named)
    described: dict[str, Any] = {}
    beside = None
    try:
        beside = read_peft_config(path.parent) if path.name == PEFT_FILE or kind is Format.peft else None
        described = read_description(header.metadata) if beside is None else beside
        problem = _problem(kind, header, keys, others, twice)
    except ConfigError as error:
        problem = f"cannot be used: {error}"
    if problem is None:
        ranks = {name: header.shapes[roles[DOWN]][1][0] for name, roles in keys.items()}
        problem = problem_of(described, ranks, {name for name, roles in keys.items() if MAGNITUDE in roles})
    return AdapterFile(path, header, kind, keys, described, beside is not None, embeddings, problem)


def read_adapter(path: Path) -> Adapter:
    """Return the layers of an adapter file of any format. Raises ConfigError where it cannot be used, and says why."""
    return open_adapter(path).load()


def _together(path: Path, parts: list[AdapterFile]) -> AdapterFile:
    """Files of one pipeline's parts as one, whose tensors are called by their files too."""
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    described: dict[str, Any] = {}
    keys: dict[str, dict[str, str]] = {}
    problem = None
    for part in parts:
        where = part.path.relative_to(path)
        named = {key: f"{where}: {key}" for key in part.header.shapes}
        shapes |= {named[key]: entry for key, entry in part.header.shapes.items()}
        if both := sorted(keys.keys() & part.keys.keys()):
            problem = problem or f"is damaged: two of its files change {listed(both)}"
        keys |= {layer: {role: named[key] for role, key in roles.items()} for layer, roles in part.keys.items()}
        described |= {f"{own}.{key}": value for own in part.parts() for key, value in part.described.items()}
        problem = problem or (part.problem and f"cannot be used: {where} {part.problem}")
    size = sum(part.header.size_bytes for part in parts)
    embeddings = sorted({name for part in parts for name in part.embeddings})
    beside = any(part.beside for part in parts)
    return AdapterFile(
        path, Header(shapes, {}, size), Format.peft, keys, described, beside, embeddings, problem, tuple(parts)
    )


def _with_part(name: str, path: Path) -> str:
    """peft keeps an adapter of each part in a directory of its own, called like it, under the same names."""
    folder = path.parent.name
    return f"{folder}.{name}" if path.name == PEFT_FILE and folder in PARTS and not has_part(name) else name


def _is_finite(layer: Layer) -> bool:
    tensors = (layer.down, layer.up, torch.tensor(layer.alpha), layer.magnitude)
    return all(bool(torch.isfinite(tensor.float()).all()) for tensor in tensors if tensor is not None)


def _format(names: Mapping[str, Any], layers: set[str]) -> Format:
    if any(DORA.search(name) for name in names):
        return Format.dora
    if any(re.search(marker, name) for name in names for marker in LYCORIS):
        return Format.lycoris
    if any(is_flat(layer) for layer in layers):
        return Format.kohya
    if any(layer.startswith("base_model.model.") for layer in layers):
        return Format.peft
    if any(re.match(r"((model\.)?diffusion_model\.)?(input|output|middle)_block|diffusion_model\.", x) for x in layers):
        return Format.original
    if any(re.search(r"\.lora_A\.(default\.)?weight$", name) for name in names):
        return Format.diffusers
    if layers:
        return Format.diffusers_old
    return Format.checkpoint if any(CHECKPOINT.match(name) for name in names) else Format.unknown


def _problem(
    kind: Format, header: Header, keys: dict[str, dict[str, str]], others: list[str], twice: list[str]
) -> str | None:
    """Return why a file cannot be used; None where it can. others: tensors that are of no known layer, or no LoRA's."""
    if kind is Format.lycoris:
        found = _kinds(header.shapes, LYCORIS)
        return f"is a LyCORIS file ({', '.join(found)}), which is not supported: only plain LoRA is"
    if kind is Format.dora:
        return (
            "is a DoRA in kohya's format, not read: its dora_scale lies along either axis, by tool and version, "
            "and readers compute it differently; a DoRA in diffusers' format is (lora_magnitude_vector)"
        )
    if kind is Format.checkpoint:
        return "is a whole model and no adapter; it belongs into model="
    if not keys:
        other = any(split_key(key) for key in others)
        what = "a LoRA of no Stable Diffusion" if other else "no adapter"
        return f"is {what}{'; it holds ' * bool(others)}{listed(others)}"
    if others:
        kinds = _kinds(others, MORE) or ["layers that no Stable Diffusion has"] * all(map(split_key, others))
        named = f" ({', '.join(kinds)})" if kinds else ""
        return (
            f"holds {len(others)} tensors beside its LoRA that are not understood{named}, such as {listed(others)}; "
            "without them it would be another adapter, so it is not read"
        )
    return _not_whole(header, keys, twice)


def _not_whole(header: Header, keys: dict[str, dict[str, str]], twice: list[str]) -> str | None:
    if twice:
        return f"is damaged: it holds {listed(twice)} twice, under two names"
    for role, part in ((role, part) for role in (ALPHA, MAGNITUDE) for part in PARTS):
        own = [name for name in keys if name.startswith(f"{part}.")]
        lacking = [name for name in own if role not in keys[name]]
        if 0 < len(lacking) < len(own):
            return f"is not whole: {len(lacking)} of {len(own)} layers have no {role}, such as {listed(lacking, 1)}"
    for name, roles in keys.items():
        if DOWN not in roles or UP not in roles:
            return f"is not whole: {name} has {' and '.join(sorted(roles))} alone"
        entries = {role: header.shapes[key] for role, key in roles.items()}
        if whole := [
            role for role in (DOWN, UP, MAGNITUDE) if role in entries and not entries[role][0].is_floating_point
        ]:
            return (
                f"is damaged: {whole[0]} of {name} holds whole numbers ({entries[whole[0]][0]}), a LoRA has fractions"
            )
        down, up = entries[DOWN][1], entries[UP][1]
        if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1] or not down[0] or set(up[2:]) - {1}:
            return f"is not whole: the matrices of {name}, {list(up)} and {list(down)}, cannot be multiplied"
        if ALPHA in entries and torch.Size(entries[ALPHA][1]).numel() != 1:
            return f"is damaged: alpha of {name} is no single number, its shape is {list(entries[ALPHA][1])}"
        if MAGNITUDE in entries and torch.Size(entries[MAGNITUDE][1]).numel() != up[0]:
            return f"is damaged: {name} has magnitudes {list(entries[MAGNITUDE][1])} for {up[0]} rows"
    return None


def _kinds(names: Mapping[str, Any] | list[str], markers: Mapping[str, str]) -> list[str]:
    return sorted({what for marker, what in markers.items() for name in names if re.search(marker, name)})
