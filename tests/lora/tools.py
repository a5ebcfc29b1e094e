"""One adapter as each tool names it in its files, and what it makes of a base model's weights.

The names are those of the tools' own code: diffusers' `save_lora_weights`, kohya-ss/sd-scripts (networks/lora.py),
peft's `save_pretrained`, OneTrainer (modules/util/convert_lora_util.py: its internal files and its COMFY format) and
LyCORIS (lycoris/wrapper.py). What is merged is computed here, in float64, from the matrices alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from emote.models.components import load_unet
from emote.models.original_names import UNetLayout
from emote.models.prompts import PromptEncoder
from tests.models.helpers import answer

Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]  # module with its part → (down [rank, in], up [out, rank])
RANK, ALPHA = 4, 2.0
WORDS = ["a cat", ""]
LAYOUT = UNetLayout(2, frozenset({1}))


def matrices(parts: dict[str, torch.nn.Module]) -> Matrices:
    """Random ones for every attention projection of the UNet, and for those of the text encoder if it is given."""
    generator = torch.Generator().manual_seed(11)
    found = {}
    for part, model in parts.items():
        ends = (".to_q", ".to_k", ".to_v", ".to_out.0") if part == "unet" else (".q_proj", ".out_proj", ".fc1")
        for name, module in model.named_modules():
            if name.endswith(ends) and isinstance(module, torch.nn.Linear):
                inner = name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
                down = torch.randn(RANK, module.in_features, generator=generator) * 0.3
                found[f"{part}.{inner}"] = (down, torch.randn(module.out_features, RANK, generator=generator) * 0.3)
    return found


def merged(part: str, model: torch.nn.Module, of: Matrices, scale: float = 1.0) -> torch.nn.Module:
    """The model with the changes in its weights, in place."""
    for name, module in model.named_modules():
        inner = name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
        if f"{part}.{inner}" in of:
            down, up = of[f"{part}.{inner}"]
            change = scale * ALPHA / RANK * (up.double() @ down.double())
            module.weight.data = (module.weight.double() + change).float()
    return model


def wanted(base: Path, of: Matrices, scale: float = 1.0, words: Sequence[str] = WORDS) -> tuple[torch.Tensor, ...]:
    """(the UNet's answer, the words' embeddings) with merged weights."""
    encoder = PromptEncoder(base)
    merged("text_encoder", encoder.encoders["text_encoder"], of, scale)
    return answer(merged("unet", load_unet(base), of, scale)), encoder(list(words))


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def diffusers(of: Matrices, folder: Path) -> Path:
    tensors, told = {}, {}
    for name, (down, up) in of.items():
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down, up
        told |= {f"{name.split('.')[0]}.r": RANK, f"{name.split('.')[0]}.lora_alpha": ALPHA}
    return _save(tensors, folder / "pytorch_lora_weights.safetensors", {"lora_adapter_metadata": json.dumps(told)})


def bare(of: Matrices, folder: Path) -> Path:
    """As `unet.save_lora_adapter()` has it: names and settings without a part."""
    tensors = {}
    for name, (down, up) in of.items():
        module = name.removeprefix("unet.")
        tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = down, up
    told = {"r": RANK, "lora_alpha": ALPHA, "target_modules": ["to_q"], "peft_type": "LORA", "bias": "none"}
    return _save(tensors, folder / "pytorch_lora_weights.safetensors", {"lora_adapter_metadata": json.dumps(told)})


def kohya(of: Matrices, folder: Path) -> Path:
    return _flat(of, folder, {"unet": "lora_unet_", "text_encoder": "lora_te_"})


def lycoris(of: Matrices, folder: Path) -> Path:
    return _flat(of, folder, {"unet": "lycoris_", "text_encoder": "lycoris_"})


def peft(of: Matrices, folder: Path) -> Path:
    """A directory for each part, as peft's examples have it; of one part alone, the directory itself."""
    parts = {name.split(".")[0] for name in of}
    return _peft(of, folder, {part: part if len(parts) > 1 else "" for part in parts})


def peft_above(of: Matrices, folder: Path) -> Path:
    """The UNet's in the directory itself, the text encoder's in one below."""
    return _peft(of, folder, {"unet": "", "text_encoder": "text_encoder"})


def _peft(of: Matrices, folder: Path, places: dict[str, str]) -> Path:
    for part, place in places.items():
        tensors = {}
        for name, (down, up) in of.items():
            if name.startswith(f"{part}."):
                module = f"base_model.model.{name.split('.', 1)[1]}"
                tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = down, up
        target = "to_q" if part == "unet" else "q_proj"
        told = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "target_modules": [target]}
        (folder / place).mkdir(exist_ok=True)
        if tensors:
            (folder / place / "adapter_config.json").write_text(json.dumps(told))
            _save(tensors, folder / place / "adapter_model.safetensors")
    return folder


def onetrainer(of: Matrices, folder: Path) -> Path:
    tensors = {}
    for name, (down, up) in of.items():
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
        tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return _save(tensors, folder / "lora.safetensors")


def comfy(of: Matrices, folder: Path) -> Path:
    tensors = {}
    for name, (down, up) in of.items():
        part, module = name.split(".", 1)
        unet = part == "unet"
        named = (
            f"diffusion_model.{LAYOUT.to_original(module)}" if unet else f"text_encoders.clip_l.transformer.{module}"
        )
        tensors[f"{named}.lora_A.weight"], tensors[f"{named}.lora_B.weight"] = down, up
        tensors[f"{named}.alpha"] = torch.tensor(ALPHA)
    return _save(tensors, folder / "lora.safetensors")


TOOLS: dict[str, Callable[[Matrices, Path], Path]] = {
    "diffusers": diffusers, "diffusers, bare": bare, "kohya": kohya, "peft": peft,
    "peft, UNet above": peft_above, "OneTrainer": onetrainer, "OneTrainer COMFY": comfy, "LyCORIS": lycoris,
}  # fmt: skip
ONE_PART = ("diffusers, bare",)  # whose files are of the UNet alone


def _flat(of: Matrices, folder: Path, prefixes: dict[str, str]) -> Path:
    tensors = {}
    for name, (down, up) in of.items():
        part, module = name.split(".", 1)
        named = prefixes[part] + module.replace(".", "_")
        tensors[f"{named}.lora_down.weight"], tensors[f"{named}.lora_up.weight"] = down, up
        tensors[f"{named}.alpha"] = torch.tensor(ALPHA)
    return _save(tensors, folder / "lora.safetensors")


def _save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path
