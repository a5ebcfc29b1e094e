"""Put the layers of an adapter file on the parts of a pipeline that draws, and take them off again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import peft
import torch
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from peft.tuners.lora import LoraLayer
from torch import nn

from emote.lora.adapter import NAME
from emote.lora.adapter_file import Layer, find_adapter_file, read_adapter
from emote.lora.formats import describe
from emote.lora.layer_names import PARTS
from emote.util.errors import ConfigError
from emote.util.hints import listed

Modules = Mapping[str, nn.Module]


def load_for_sampling(unet: nn.Module, path: Path, encoders: Modules = MappingProxyType({})) -> bool:
    """Add the adapter of a file of any format (or of a directory with one) to fresh parts; see `put_layers`.

    encoders: the text encoders by their names in a pipeline. Returns whether any of them is adapted. Raises ConfigError
    where the file is missing, is no adapter that is supported, or belongs to another base model; nothing has changed.
    """
    file = find_adapter_file(Path(path))
    if file is None or not file.exists():
        raise ConfigError(f"there is no adapter at {path}")
    layers = read_adapter(file).layers
    put_layers({"unet": unet, **encoders}, layers, file)
    return any(not name.startswith("unet.") for name in layers)


def put_layers(parts: Modules, layers: Mapping[str, Layer], file: Path) -> None:
    """Add layers to the parts of a pipeline as the adapter `default`, frozen, in float32 whatever the parts' dtype is.

    parts: by their names in a pipeline. file: for messages. Raises ConfigError, before anything changes, where a layer
    does not fit.
    """
    _check_fits(parts, layers, file)
    for part in PARTS:
        own = {name: layer for name, layer in layers.items() if name.startswith(f"{part}.")}
        if own:
            _put(parts[part], part, own)


def remove_layers(part: nn.Module) -> None:
    """Leave the part as it was before `put_layers`."""
    recurse_remove_peft_layers(part)
    for name in ("peft_config", "_hf_peft_config_loaded"):  # what peft and diffusers keep of it
        part.__dict__.pop(name, None)


def _put(module: nn.Module, part: str, layers: Mapping[str, Layer]) -> None:
    settings = {key.removeprefix(f"{part}."): value for key, value in describe(layers).items()}
    was_training = module.training
    peft.inject_adapter_in_model(peft.LoraConfig(**settings), module, adapter_name=NAME)
    module.train(was_training)
    module.requires_grad_(False)
    for name, found in module.named_modules():
        if not isinstance(found, LoraLayer):
            continue
        layer = layers[_one_name(part, name)]
        # peft rounds to the dtype of the frozen weights: the file's own numbers; the file is mapped, and may change
        for into, tensor in ((found.lora_A, layer.down), (found.lora_B, layer.up)):
            into[NAME].weight.data = _own(tensor, found)
        if layer.magnitude is not None:
            found.lora_magnitude_vector[NAME].weight.data = _own(layer.magnitude, found).view_as(
                found.lora_magnitude_vector[NAME].weight
            )


def _own(tensor: torch.Tensor, layer: LoraLayer) -> torch.Tensor:
    return tensor.to(layer.get_base_layer().weight.device, torch.float32, copy=True)


def _one_name(part: str, module: str) -> str:
    """transformers has dropped the level `text_model` in its own names."""
    inside = part != "unet" and module.startswith("encoder.")
    return f"{part}.text_model.{module}" if inside else f"{part}.{module}"


def _check_fits(parts: Modules, layers: Mapping[str, Layer], file: Path) -> None:
    weights = {
        _one_name(part, name): module.weight.shape
        for part, whole in parts.items()
        for name, module in whole.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
    }
    wrong = [name for name, layer in layers.items() if not _fits(layer, weights.get(name))]
    if wrong:
        raise ConfigError(f"{file} was made for another base model ({listed(wrong)} do not fit)")


def _fits(layer: Layer, shape: torch.Size | None) -> bool:
    down, up = layer.down.shape, layer.up.shape
    return shape is not None and len(shape) == len(down) and shape[0] == up[0] and shape[1:] == down[1:]
