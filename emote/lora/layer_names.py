"""What adapter files call the layers that they change, and one name for each: `unet.….attn1.to_q`.

The one name is the part of the pipeline (unet, text_encoder, text_encoder_2) and the module's name in diffusers or
transformers, `text_model.` included. Files are by diffusers (three generations), or by kohya's scripts
(kohya-ss/sd-scripts, networks/lora.py), which put `_` for `.` and take SDXL's UNet by its original names.
"""

from __future__ import annotations

import re

from emote.models.original_names import SDXL

PARTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA_PREFIXES = {
    "lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
}  # fmt: skip

DOWN, UP, ALPHA, MAGNITUDE = "down", "up", "alpha", "magnitude"
# how a tensor's name ends → what it is to its layer
ROLES = {
    ".lora_A.weight": DOWN, ".lora_B.weight": UP,  # peft, and diffusers since 0.22
    ".lora_linear_layer.down.weight": DOWN, ".lora_linear_layer.up.weight": UP,  # diffusers, text encoders
    ".lora.down.weight": DOWN, ".lora.up.weight": UP,  # diffusers
    "_lora.down.weight": DOWN, "_lora.up.weight": UP,  # diffusers, attention processors
    ".lora_down.weight": DOWN, ".lora_up.weight": UP,  # kohya
    ".alpha": ALPHA,
    ".lora_magnitude_vector": MAGNITUDE, ".lora_magnitude_vector.weight": MAGNITUDE,  # peft's DoRA
}  # fmt: skip

_BLOCK = r"(down_blocks\.\d+|up_blocks\.\d+|mid_block)"
_TRANSFORMER = r"transformer_blocks\.\d+\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))"
_INSIDE = (
    r"resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)",
    rf"attentions\.\d+\.(proj_in|proj_out|{_TRANSFORMER})",
    r"(downsamplers|upsamplers)\.0\.conv",
)
_UNET = re.compile(rf"{_BLOCK}\.({'|'.join(_INSIDE)})|conv_in|conv_out|(time|add)_embedding\.linear_[12]")
_TEXT = re.compile(
    r"text_model\.encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])|text_projection"
)  # fmt: skip
# every word with `_` inside it, so that the other ones stand for dots
_WORDS = (
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in",
    "proj_out", "conv_in", "conv_out", "conv_shortcut", "time_emb_proj", "time_embedding", "add_embedding", "linear_1",
    "linear_2", "text_model", "text_projection", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj",
    "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers", "skip_connection",
    "time_embed", "label_emb",
)  # fmt: skip
_WORD = re.compile(rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))}|[a-z0-9]+)(_|$)")
# attention processors' names, in the UNet and (as diffusers once had them) in text encoders
_TEXT_OLD = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


def split_key(key: str) -> tuple[str, str] | None:
    """(the layer as the file names it, its role) of a tensor; None for a tensor that no LoRA has."""
    for ending, role in ROLES.items():
        if key.endswith(ending):
            return key.removesuffix(ending), role
    return None


def is_kohya(name: str) -> bool:
    return name.startswith(tuple(KOHYA_PREFIXES))


def layer_name(name: str) -> str | None:
    """Return the one name of a layer for what a file names it; None where it names no layer of a Stable Diffusion."""
    return _from_kohya(name) if is_kohya(name) else _from_diffusers(name)


def kohya_name(layer: str, *, sdxl: bool = False) -> str:
    """Return what kohya's scripts call a layer; ComfyUI and A1111 map these names to their own."""
    part, module = layer.split(".", 1)
    if part == "unet":
        # SDXL's scripts know the original names alone, and the other tools know both
        return "lora_unet_" + (SDXL.to_original(module) if sdxl else module).replace(".", "_")
    number = ("1" if part == "text_encoder" else "2") if sdxl else ""
    return f"lora_te{number}_{module.replace('.', '_')}"


def _from_kohya(name: str) -> str | None:
    prefix = next(prefix for prefix in KOHYA_PREFIXES if name.startswith(prefix))
    part, module = KOHYA_PREFIXES[prefix], _with_dots(name.removeprefix(prefix))
    if part == "unet" and re.match(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.", module):
        try:
            module = SDXL.to_diffusers(module)  # Stable Diffusion 1 and 2 have as many layers a block
        except ValueError:
            return None
    return _checked(part, module)


def _from_diffusers(name: str) -> str | None:
    name = name.replace(".processor.", ".")
    part, _, module = name.partition(".")
    if part not in PARTS:
        part, module = "unet", name  # the oldest files have the UNet's own names
    before, _, last = module.rpartition(".")
    if part == "unet" and last == "to_out":
        module = f"{module}.0"
    elif part != "unet":
        module = f"{before}.{_TEXT_OLD[last]}" if last in _TEXT_OLD else module
        # transformers has dropped the level `text_model` in its own names
        module = f"text_model.{module}" if module.startswith("encoder.") else module
    return _checked(part, module)


def _checked(part: str, module: str) -> str | None:
    return f"{part}.{module}" if (_UNET if part == "unet" else _TEXT).fullmatch(module) else None


def _with_dots(flat: str) -> str:
    return _WORD.sub(lambda found: found[1] + ("." if found[2] else ""), flat)
