"""Adapter files: diffusers' own, and the one that kohya's scripts, ComfyUI and A1111 read.

Both are safetensors in float32, written atomically, and the same adapter gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils import convert_unet_state_dict_to_peft
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from emote.config import ConfigError, LoraConfig
from emote.files import write_bytes
from emote.model.adapter import NAME, SHOWN, target_names

DIFFUSERS_FILE = LORA_WEIGHT_NAME_SAFE  # pytorch_lora_weights.safetensors
Tensors = dict[str, torch.Tensor]


def save_diffusers(unet: UNet2DConditionModel, directory: Path, lora: LoraConfig) -> Path:
    """Write `pytorch_lora_weights.safetensors` for `StableDiffusionPipeline.load_lora_weights`; returns its path.

    The keys are peft's own (`unet.….to_q.lora_A.weight`): diffusers' conversion mixes two styles, and its loader
    judges a file by its first key. alpha stands in the header, without which it is read as alpha = rank.
    """
    tensors = {f"unet.{name}": tensor for name, tensor in _peft_state(unet).items()}
    # dropout is left out: the file is for drawing, and a fresh dropout layer would start in training mode
    adapter = {"r": int(lora.rank), "lora_alpha": lora.alpha, "target_modules": sorted(target_names(lora))}
    described = {f"unet.{key}": value for key, value in adapter.items()}
    header = {LORA_ADAPTER_METADATA_KEY: json.dumps(described, indent=2, sort_keys=True)}
    return _write(Path(directory) / DIFFUSERS_FILE, tensors, header)


def save_kohya(unet: UNet2DConditionModel, path: Path, lora: LoraConfig, metadata: dict[str, str]) -> Path:
    """Write one file with `lora_unet_<module>.lora_down.weight`, `.lora_up.weight` and `.alpha`; returns its path.

    Names as in kohya-ss/sd-scripts, networks/lora.py: diffusers' module names with `_` for `.` (ComfyUI and A1111 map
    these to their own). Shapes: Linear down [rank, in], up [out, rank]; Conv2d down [rank, in, k, k], up
    [out, rank, 1, 1]. `metadata` is added to what is known here (rank, alpha, base model, hash) and wins over it.
    """
    tensors: Tensors = {}
    for name, tensor in _peft_state(unet).items():
        module, part, _ = name.rsplit(".", 2)
        prefix = kohya_name(module)
        tensors[f"{prefix}.{'lora_down' if part == 'lora_A' else 'lora_up'}.weight"] = tensor
        tensors[f"{prefix}.alpha"] = torch.tensor(float(lora.alpha))
    digest = content_hash(tensors)
    version, architecture = _base_model(unet)
    known = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(lora.rank),
        "ss_network_alpha": str(float(lora.alpha)),
        "ss_base_model_version": version,
        "sshs_model_hash": digest,  # what A1111 identifies a LoRA by
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": Path(path).stem,
        "modelspec.hash_sha256": f"0x{digest}",
    }
    if any(tensor.ndim == 4 and tensor.shape[-1] > 1 for tensor in tensors.values()):
        known["ss_network_args"] = json.dumps({"conv_dim": str(lora.rank), "conv_alpha": str(float(lora.alpha))})
    return _write(Path(path), tensors, known | metadata)


def kohya_name(module: str) -> str:
    """What kohya's scripts call the UNet's module of that name."""
    return "lora_unet_" + module.replace(".", "_")


def load_for_sampling(unet: UNet2DConditionModel, path: Path) -> None:
    """Add the adapter of either file (or of a directory with diffusers' one) to a fresh UNet, by diffusers' loader.

    Its weights stay float32 whatever the UNet's dtype is; it is frozen and named `default`.
    Raises ConfigError where the file is missing, is no adapter, or belongs to another base model.
    """
    path = Path(path)
    file = path / DIFFUSERS_FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"there is no adapter at {path}")
    was_training = unet.training
    try:
        state, alphas, described = StableDiffusionPipeline.lora_state_dict(
            str(file.parent), weight_name=file.name, use_safetensors=True, local_files_only=True,
            return_lora_metadata=True,
        )  # fmt: skip
        if any(name.startswith("text_encoder") for name in state):
            raise ConfigError(f"{file} adapts the text encoder too, which this model keeps as it is")
        given = {name.removeprefix("unet."): tensor for name, tensor in _as_peft(state).items()}
        _check_fits(unet, given, file)
        StableDiffusionPipeline.load_lora_into_unet(
            state, network_alphas=alphas, unet=unet, adapter_name=NAME, metadata=described
        )
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"{file} is not an adapter that diffusers can read: {_first_line(error)}") from error
    unet.train(was_training)
    unet.requires_grad_(False)
    loaded = {name: p for name, p in unet.named_parameters() if f".{NAME}." in name}
    for name, parameter in loaded.items():
        # peft rounds to the dtype of the frozen weights: put the file's own numbers back
        parameter.data = given[name.replace(f".{NAME}.", ".")].to(parameter.device, torch.float32)


def read_metadata(path: Path) -> dict[str, str]:
    """The text in a safetensors file's header."""
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata() or {})


def content_hash(tensors: Tensors) -> str:
    """SHA-256 of a file's bytes after the header: ModelSpec's `hash_sha256`, kohya's `sshs_model_hash`."""
    return hashlib.sha256(_split(safetensors.torch.save(tensors))[1]).hexdigest()


def _peft_state(unet: UNet2DConditionModel) -> Tensors:
    """The adapter under peft's names without the adapter's own, sorted, float32 on the CPU."""
    state = get_peft_model_state_dict(unet, adapter_name=NAME)
    return {name: state[name].detach().to("cpu", torch.float32).contiguous() for name in sorted(state)}


def _base_model(unet: UNet2DConditionModel) -> tuple[str, str]:
    """(kohya's version, ModelSpec's architecture) of the base model, told by its shape."""
    if unet.config["block_out_channels"][0] == 320:
        if unet.config["cross_attention_dim"] == 768:
            return "sd_v1", "stable-diffusion-v1"
        if unet.config["cross_attention_dim"] == 1024:
            return "sd_v2", "stable-diffusion-v2-512"
    # a miniature must not be offered for Stable Diffusion 1
    return "other", "stable-diffusion-other"


def _as_peft(state: dict[str, Any]) -> Tensors:
    return state if any(".lora_A." in name for name in state) else convert_unet_state_dict_to_peft(state)


def _check_fits(unet: UNet2DConditionModel, given: Tensors, file: Path) -> None:
    layers = {name: module.weight.shape for name, module in unet.named_modules() if hasattr(module, "weight")}
    wrong = []
    for name, tensor in given.items():
        module, _, part = name.removesuffix(".weight").rpartition(".")
        shape = layers.get(module)
        axis = 1 if part == "lora_A" else 0
        if shape is None or len(shape) != tensor.ndim or shape[axis] != tensor.shape[axis]:
            wrong.append(name)
    if wrong or not given:
        named = f" ({', '.join(wrong[:SHOWN])}{', …' if len(wrong) > SHOWN else ''} do not fit)" if wrong else ""
        raise ConfigError(f"{file} was made for another base model{named}")


def _write(path: Path, tensors: Tensors, metadata: dict[str, str]) -> Path:
    header, body = _split(safetensors.torch.save(tensors))
    # the library writes the header's texts in random order; sorted, equal adapters are equal files
    header["__metadata__"] = {"format": "pt", **{key: str(value) for key, value in metadata.items()}}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors by padding the header
    return write_bytes(path, len(text).to_bytes(8, "little") + text + body)


def _split(serialised: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(serialised[:8], "little")
    return json.loads(serialised[8 : 8 + length]), serialised[8 + length :]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
