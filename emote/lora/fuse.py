"""Merge an adapter into its base model: W + scale · alpha / rank · up · down, in float32, one weight at a time.

The result is a directory in diffusers' layout, or one file under the names of the original checkpoints, which ComfyUI,
A1111 and kohya's scripts load. Never is more than one weight in memory.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from emote.lora.adapter_file import SHOWN, Adapter, Layer
from emote.models.original_names import UNetLayout, open_clip_name, vae_to_original
from emote.models.single_file import OneFile
from emote.models.weights import STEMS, weight_files
from emote.util.errors import ConfigError
from emote.util.tensor_file import look, write_streamed

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
NO_COPY = ("*.bin", "*.ckpt", "*.msgpack", "*.onnx", "*.index.json")
OPEN_CLIP_WIDTH = 1024  # of Stable Diffusion 2's text encoder
Begin = Callable[[int], Callable[[], None]]  # told how many weights there are; gives what is called after each


@dataclass(frozen=True)
class Recipe:
    """scale: how strong the adapter is, 1 as trained. dtype: of all weights; None: each as it is in the base."""

    adapter: Adapter
    scale: float = 1.0
    dtype: torch.dtype | None = None


class _Weights:
    """The weights of some files, read one at a time, those that the adapter changes merged."""

    def __init__(self, files: list[Path], changes: Callable[[str], Layer | None], recipe: Recipe) -> None:
        self.recipe = recipe
        self.where = {name: file for file in files for name in look(file).shapes}
        self.stored = {name: entry for file in files for name, entry in look(file).shapes.items()}
        self.changes = {name: layer for name in self.where if (layer := changes(name)) is not None}
        self._open: dict[Path, Any] = {}

    def shape(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        dtype, shape = self.stored[name]
        return (self.recipe.dtype or dtype) if dtype.is_floating_point else dtype, shape

    def read(self, name: str) -> torch.Tensor:
        """Raises ConfigError where a weight is too large for the dtype."""
        file = self.where[name]
        if file not in self._open:
            self._open[file] = safe_open(str(file), framework="pt")
        weight = self._open[file].get_tensor(name)
        dtype = self.shape(name)[0]
        if name in self.changes:
            layer = self.changes[name]
            change = layer.up.flatten(1).float() @ layer.down.flatten(1).float()
            weight = weight.float() + (self.recipe.scale * layer.scale) * change.reshape(weight.shape)
        if dtype is not weight.dtype:
            weight = weight.to(dtype)
            if not torch.isfinite(weight).all():
                raise ConfigError(f"dtype={str(dtype).removeprefix('torch.')} cannot hold the numbers of {name}")
        return weight


def fuse_to_directory(
    recipe: Recipe, base: Path, variant: str | None, output: Path, begin: Begin = lambda total: lambda: None
) -> Path:
    """Write the merged model in diffusers' layout, all of it or nothing; returns its path.

    What the base has beside weights is copied; parts that are named in its index and are not there are taken out of it.
    Raises ConfigError where the adapter does not fit, or the base is a single file.
    """
    if isinstance(base, OneFile):
        raise ConfigError(f"{base.file} is a single file, and so is what it is fused into: set output=….safetensors")
    parts = _parts(recipe, base, variant)
    done = begin(sum(len(weights.where) for weights in parts.values()))
    with _whole(output) as directory:
        index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
        for name, kind in index.items():
            if not isinstance(kind, list) or kind == [None, None]:
                continue
            if not (base / name).is_dir():
                index[name] = [None, None]
            elif name not in parts:
                shutil.copytree(base / name, directory / name, ignore=shutil.ignore_patterns(*NO_COPY))
        if index.get("safety_checker") == [None, None]:
            index["requires_safety_checker"] = False
        (directory / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        for part, weights in parts.items():
            (directory / part).mkdir()
            (directory / part / "config.json").write_text(_part_config(base / part, recipe.dtype), encoding="utf-8")
            _write(directory / part / f"{STEMS.get(part, 'model')}.safetensors", weights, done)
    return output


def fuse_to_file(
    recipe: Recipe, base: Path, variant: str | None, output: Path, begin: Begin = lambda total: lambda: None
) -> Path:
    """Write the merged model as one file under the original names; returns its path.

    Raises ConfigError where the adapter does not fit, or the base has weights that the original does not know.
    """
    if isinstance(base, OneFile):
        weights = _weights_of_one_file(recipe, base)
        done = begin(len(weights.where))
        _write(output, weights, done)
        return output
    parts = _parts(recipe, base, variant)
    try:
        sources = _renamed(parts, base)
    except ValueError as error:
        raise ConfigError(f"{base} cannot be one file: the original checkpoints have no name for {error}") from error
    done = begin(len(sources))

    def make(name: str) -> torch.Tensor:
        part, keys = sources[name]
        done()
        return _reshaped(name, [parts[part].read(key) for key in keys])

    shapes = {}
    for name, (part, keys) in sources.items():
        dtype, _ = parts[part].shape(keys[0])
        empty = [torch.empty(parts[part].shape(key)[1], dtype=dtype, device="meta") for key in keys]
        shapes[name] = (dtype, tuple(_reshaped(name, empty).shape))
    return write_streamed(output, shapes, make, {})


def _parts(recipe: Recipe, base: Path, variant: str | None) -> dict[str, _Weights]:
    layers = dict(recipe.adapter.layers)

    def changes_of(part: str) -> Callable[[str], Layer | None]:
        def find(key: str) -> Layer | None:
            module = key.removesuffix(".weight")
            # transformers has dropped the level `text_model` in its own names
            module = f"text_model.{module}" if part != "unet" and module.startswith("encoder.") else module
            return layers.get(f"{part}.{module}") if key.endswith(".weight") else None

        return find

    found = {}
    for part in PARTS:
        files = weight_files(base, part, variant) if (base / part).is_dir() else []
        if files:
            found[part] = _Weights(files, changes_of(part), recipe)
    _check_fits(recipe.adapter, list(found.values()), base)
    return found


def _weights_of_one_file(recipe: Recipe, base: OneFile) -> _Weights:
    layout = UNetLayout.of(_config(base / "unet"))
    names = {}
    for name, layer in recipe.adapter.layers.items():
        part, module = name.split(".", 1)
        if part == "unet":
            names[f"model.diffusion_model.{layout.to_original(module)}.weight"] = layer
        else:
            names[f"cond_stage_model.transformer.{module}.weight"] = layer
    weights = _Weights([base.file], names.get, recipe)
    _check_fits(recipe.adapter, [weights], base.file)
    return weights


def _check_fits(adapter: Adapter, found: list[_Weights], base: Path) -> None:
    """Every layer changes one weight of its shape. Raises ConfigError where one does not, and for a DoRA."""
    adapter.check_plain("merged here")
    fitting = [
        id(layer)
        for weights in found
        for name, layer in weights.changes.items()
        if _fits(layer, weights.stored[name][1])
    ]
    wrong = [name for name, layer in adapter.layers.items() if id(layer) not in fitting]
    if wrong:
        named = f"{', '.join(wrong[:SHOWN])}{', …' if len(wrong) > SHOWN else ''}"
        raise ConfigError(f"the adapter was made for another base model than {base}: {named} do not fit")


def _fits(layer: Layer, shape: tuple[int, ...]) -> bool:
    inside = torch.Size(layer.down.shape[1:]).numel()
    return shape[0] == layer.up.shape[0] and torch.Size(shape[1:]).numel() == inside and shape[1] == layer.down.shape[1]


def _renamed(parts: Mapping[str, _Weights], base: Path) -> dict[str, tuple[str, list[str]]]:
    """The original's name of every weight → (part, its names there). Raises ValueError for one that has none."""
    layout = UNetLayout.of(_config(base / "unet"))
    blocks = len(_config(base / "vae")["block_out_channels"])
    is_xl = "text_encoder_2" in parts
    renamed: dict[str, tuple[str, list[str]]] = {}
    for part, weights in parts.items():
        wide = part == "text_encoder_2" or _config(base / part).get("hidden_size") == OPEN_CLIP_WIDTH
        for key in sorted(weights.where, key=_qkv):
            if part == "unet":
                name = f"model.diffusion_model.{layout.to_original(key)}"
            elif part == "vae":
                name = f"first_stage_model.{vae_to_original(key, blocks)}"
            elif key.endswith("position_ids"):
                continue  # a constant that was saved once
            else:
                inner = key if key.startswith(("text_model.", "text_projection")) else f"text_model.{key}"
                if wide:
                    embedder = "conditioner.embedders.1.model" if is_xl else "cond_stage_model.model"
                    name = f"{embedder}.{open_clip_name(inner)}"
                else:
                    name = f"{'conditioner.embedders.0' if is_xl else 'cond_stage_model'}.transformer.{inner}"
            renamed.setdefault(name, (part, []))[1].append(key)
    return renamed


def _qkv(key: str) -> tuple[int, str]:
    """OpenCLIP has query, key and value in this order."""
    return next((i for i, letter in enumerate("qkv") if f".{letter}_proj." in key), 0), key


def _reshaped(name: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensor that the original has: several as one, a Linear as a 1×1 convolution, or transposed."""
    tensor = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    if name.startswith("first_stage_model.") and ".mid.attn_1." in name and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor.T if name.endswith(".model.text_projection") else tensor


def _write(path: Path, weights: _Weights, done: Callable[[], None]) -> None:
    def make(name: str) -> torch.Tensor:
        done()
        return weights.read(name)

    write_streamed(path, {name: weights.shape(name) for name in weights.where}, make, {})


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _part_config(folder: Path, dtype: torch.dtype | None) -> str:
    """The part's configuration; transformers' names a dtype, which its loader follows."""
    config = _config(folder)
    for key in ("dtype", "torch_dtype"):
        if dtype is not None and key in config:
            config[key] = str(dtype).removeprefix("torch.")
    return json.dumps(config, indent=2) + "\n"


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A directory beside `output` that gets its name when the block ends well, and is removed otherwise."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
