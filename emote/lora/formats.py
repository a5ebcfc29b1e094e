"""Write adapter files: diffusers' own, and the one that kohya's scripts, ComfyUI and A1111 read.

Both are safetensors, written atomically, and the same adapter gives the same bytes. What a file holds is read by
adapter_file and put to use by loading.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft.utils import get_peft_model_state_dict

from emote.config import LoraConfig
from emote.lora.adapter import NAME, effective_alpha
from emote.lora.adapter_file import DIFFUSERS_FILE as DIFFUSERS_FILE
from emote.lora.adapter_file import Adapter, Format, Layer
from emote.lora.base_family import LABELS, OTHER, Base, base_of_unet
from emote.lora.description import LORA_ADAPTER_METADATA_KEY, described_alpha, read_description, setting
from emote.lora.layer_names import PARTS, kohya_name
from emote.util.errors import ConfigError
from emote.util.tensor_file import content_hash, write_tensors
from emote.util.tensor_file import read_metadata as read_metadata

# in a kohya file: the header of the diffusers file that it was made from, as JSON
DIFFUSERS_HEADER = "diffusers_header"
# What peft's LoraConfig is besides ranks, alphas and layers, spelled out for readers that ask without a default. No key
# that only newer releases of peft know: older ones refuse the file for it.
PLAIN_LORA = {
    "bias": "none", "init_lora_weights": True, "lora_dropout": 0.0, "use_dora": False, "use_rslora": False,
}  # fmt: skip
# texts that describe one file's bytes
OF_THE_BYTES = {"format", "sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"}


def save_diffusers(unet: UNet2DConditionModel, directory: Path, lora: LoraConfig) -> Path:
    """Write the UNet's adapter as `pytorch_lora_weights.safetensors` in float32; returns its path."""
    return write_diffusers(take_out(unet, lora), Path(directory) / DIFFUSERS_FILE)


def save_kohya(unet: UNet2DConditionModel, path: Path, lora: LoraConfig, metadata: dict[str, str]) -> Path:
    """Write the UNet's adapter as kohya's scripts do, in float32; returns its path."""
    return write_kohya(take_out(unet, lora), Path(path), metadata)


def take_out(unet: UNet2DConditionModel, lora: LoraConfig, text: Mapping[str, Layer] = MappingProxyType({})) -> Adapter:
    """Return a copy of the UNet's adapter, float32 on the CPU; text: layers of the text encoders that belong to it."""
    state = get_peft_model_state_dict(unet, adapter_name=NAME)
    modules = sorted({name.split(".lora_")[0] for name in state})
    layers = {}
    for module in modules:
        down, up = (state[f"{module}.lora_{side}.weight"].detach().to("cpu", torch.float32) for side in "AB")
        magnitude = state.get(f"{module}.lora_magnitude_vector")
        if magnitude is not None:
            magnitude = magnitude.detach().to("cpu", torch.float32, copy=True)
        layers[f"unet.{module}"] = Layer(down.contiguous(), up.contiguous(), effective_alpha(lora), magnitude)
    return Adapter(layers | dict(text), base_of_unet(unet.config))


def write_diffusers(adapter: Adapter, path: Path) -> Path:
    """Write the file that `load_lora_weights` of diffusers' pipelines reads; returns its path.

    The keys are peft's own (`unet.….to_q.lora_A.weight`): diffusers' conversion mixes two styles, and its loader
    judges a file by its first key. alpha stands in the header, without which it is read as alpha = rank.
    """
    tensors = {}
    for name, layer in adapter.layers.items():
        tensors[f"{name}.lora_A.weight"] = layer.down
        tensors[f"{name}.lora_B.weight"] = layer.up
        if layer.magnitude is not None:
            tensors[f"{name}.lora_magnitude_vector"] = layer.magnitude
    return write_tensors(path, tensors, _diffusers_header(adapter))


def write_kohya(adapter: Adapter, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write one file with `lora_unet_<module>.lora_down.weight`, `.lora_up.weight` and `.alpha`; returns its path.

    Names as in kohya-ss/sd-scripts, networks/lora.py. Shapes: Linear down [rank, in], up [out, rank]; Conv2d down
    [rank, in, k, k], up [out, rank, 1, 1]. The header has what is known here (rank, alpha, base model, hashes), what
    came with the adapter, and `metadata`, each winning over those before. Raises ConfigError for a DoRA.
    """
    adapter.check_plain("written in kohya's format")
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in adapter.layers.items():
        prefix = kohya_name(name, sdxl=adapter.base is Base.sdxl)
        tensors[f"{prefix}.lora_down.weight"] = layer.down
        tensors[f"{prefix}.lora_up.weight"] = layer.up
        tensors[f"{prefix}.alpha"] = _alpha_tensor(layer)
    return write_tensors(path, tensors, _kohya_header(adapter, path, content_hash(tensors)) | dict(metadata or {}))


def describe(layers: Mapping[str, Layer]) -> dict[str, Any]:
    """peft's settings for each part: the most frequent rank and alpha, and the layers that have others.

    The patterns stand there even where they are empty: diffusers before 0.40 reads them unasked. Dropout is none
    whatever the training's was: the file is for drawing, and a fresh dropout layer would start in training mode.
    """
    described: dict[str, Any] = {}
    for part in PARTS:
        own = {_target(name): layer for name, layer in sorted(layers.items()) if name.startswith(f"{part}.")}
        if not own:
            continue
        rank = Counter(layer.rank for layer in own.values()).most_common(1)[0][0]
        alpha = Counter(layer.alpha for layer in own.values()).most_common(1)[0][0]
        ranks = {name: layer.rank for name, layer in own.items() if layer.rank != rank}
        alphas = {name: layer.alpha for name, layer in own.items() if layer.alpha != alpha}
        settings = PLAIN_LORA | {
            "r": rank, "lora_alpha": alpha, "rank_pattern": ranks, "alpha_pattern": alphas, "target_modules": list(own),
        }  # fmt: skip
        settings["use_dora"] = any(layer.magnitude is not None for layer in own.values())
        described |= {f"{part}.{key}": value for key, value in settings.items()}
    return described


def _target(name: str) -> str:
    """A layer's name as peft looks for it; transformers may or may not have the level `text_model`."""
    return name.split(".", 1)[1].removeprefix("text_model.")


def _diffusers_header(adapter: Adapter) -> dict[str, str]:
    told = {key: text for key, text in adapter.metadata.items() if key not in OF_THE_BYTES}
    kept = _kept_header(told.pop(DIFFUSERS_HEADER, None), adapter.layers)
    if kept is not None:
        return kept
    return told | {LORA_ADAPTER_METADATA_KEY: json.dumps(describe(adapter.layers), indent=2, sort_keys=True)}


def _kept_header(text: str | None, layers: Mapping[str, Layer]) -> dict[str, str] | None:
    """The header of the diffusers file that the layers were once in; None where it is not true of them any more."""
    try:
        header: dict[str, str] = json.loads(text or "null")
        described = read_description(header or {})
    except (ValueError, ConfigError):
        return None
    if header is None:
        return None
    for name, layer in layers.items():
        rank = setting(described, name, "r", "rank_pattern", layer.rank)
        alpha = described_alpha(described, name, layer.rank)
        # a kohya file has alpha in float32
        if rank != layer.rank or torch.tensor(alpha) != torch.tensor(layer.alpha):
            return None
    return header


def _kohya_header(adapter: Adapter, path: Path, digest: str) -> dict[str, str]:
    layers = adapter.layers.values()
    rank = Counter(layer.rank for layer in layers).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers).most_common(1)[0][0]
    version, architecture = LABELS.get(adapter.base, OTHER)
    known = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_base_model_version": version,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": path.stem,
    }
    if any(layer.down.shape[-1] > 1 for layer in layers if layer.down.ndim == 4):
        known["ss_network_args"] = json.dumps({"conv_dim": str(rank), "conv_alpha": str(alpha)})
    came_with = set(adapter.metadata) - OF_THE_BYTES - {LORA_ADAPTER_METADATA_KEY}
    told = {key: adapter.metadata[key] for key in came_with}
    # what a kohya file's header was made into goes back by itself
    if adapter.format is Format.diffusers and not any(key.startswith("ss_") for key in told):
        told[DIFFUSERS_HEADER] = json.dumps(adapter.metadata, sort_keys=True)
    # sshs_model_hash is what A1111 identifies a LoRA by
    return known | told | {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}


def _alpha_tensor(layer: Layer) -> torch.Tensor:
    """A scalar in the dtype of the layer's matrices, as kohya's scripts have it, but never less exact than float32."""
    alpha, exact = torch.tensor(layer.alpha, dtype=layer.down.dtype), torch.tensor(layer.alpha, dtype=torch.float32)
    return alpha if float(alpha) == float(exact) else exact
