"""What adapter files call the layers that they change, and one name for each: `unet.….attn1.to_q`.

The one name is the part of the pipeline (unet, text_encoder, text_encoder_2) and the module's name in diffusers or
transformers, `text_model.` included. Files are by diffusers (three generations); by peft, which puts
`base_model.model.` before a module; by kohya's scripts (kohya-ss/sd-scripts, networks/lora.py) and LyCORIS, which put
`_` for `.`, the former taking SDXL's UNet by its original names; or by ComfyUI and OneTrainer, which take every UNet by
its original names.
"""

from __future__ import annotations

import re

from emote.models.original_names import SDXL

PARTS = ("unet", "text_encoder", "text_encoder_2")
PEFT_FILE = "adapter_model.safetensors"
COMMENT = "ss_training_comment"  # kohya's; here of what a mix consists, and that an adapter draws in a few steps
# where `_` stands for `.`; None: LyCORIS wraps any model under one prefix
FLAT_PREFIXES = {
    "lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
    "lycoris_": None,
}  # fmt: skip
# ComfyUI's and OneTrainer's; the names of diffusers' parts stand for themselves
DOTTED_PREFIXES = {
    "diffusion_model.": "unet", "model.diffusion_model.": "unet",
    "text_encoders.clip_l.transformer.": "text_encoder", "text_encoders.clip_h.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
} | {f"{part}.": part for part in PARTS}  # fmt: skip
WRAPPERS = re.compile(r"(base_model\.model|_orig_mod)\.")  # peft's model and torch.compile's

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
_IN_TEXT = re.compile(r"(text_model\.)?encoder\.layers\.|text_projection$")
_ORIGINAL = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.")
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
    key = re.sub(r"(\.lora_[AB])\.default(\.weight)$", r"\1\2", key)  # peft's own name of an adapter, left in
    for ending, role in ROLES.items():
        if key.endswith(ending):
            return key.removesuffix(ending), role
    return None


def is_flat(name: str) -> bool:
    """Return whether `_` stands for `.` in the name, as kohya's scripts and LyCORIS have it."""
    return name.startswith(tuple(FLAT_PREFIXES))


def has_part(name: str) -> bool:
    """Return whether a layer's name in a file says which part of the pipeline it is of."""
    return name.startswith((*FLAT_PREFIXES, *DOTTED_PREFIXES))


def layer_name(name: str) -> str | None:
    """Return the one name of a layer for what a file names it; None where it names no layer of a Stable Diffusion."""
    name = WRAPPERS.sub("", name).replace(".processor.", ".")
    prefixes: dict[str, str | None] = FLAT_PREFIXES if is_flat(name) else dict(DOTTED_PREFIXES)
    prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    module = _with_dots(name.removeprefix(prefix)) if is_flat(name) else name.removeprefix(prefix)
    # the oldest files, and those of one part alone, have the part's own names
    part = prefixes.get(prefix) or ("text_encoder" if _IN_TEXT.match(module) else "unet")
    return _checked(part, _unet_name(module) if part == "unet" else _text_name(module))


def kohya_name(layer: str, *, sdxl: bool = False) -> str:
    """Return what kohya's scripts call a layer; ComfyUI and A1111 map these names to their own."""
    part, module = layer.split(".", 1)
    if part == "unet":
        # SDXL's scripts know the original names alone, and the other tools know both
        return "lora_unet_" + (SDXL.to_original(module) if sdxl else module).replace(".", "_")
    number = ("1" if part == "text_encoder" else "2") if sdxl else ""
    return f"lora_te{number}_{module.replace('.', '_')}"


def _unet_name(module: str) -> str:
    """The module by diffusers' names, whatever it is named by; as it is where it is named by neither."""
    if _ORIGINAL.match(module):
        try:
            return SDXL.to_diffusers(module)  # Stable Diffusion 1 and 2 have as many layers a block
        except ValueError:
            return module
    return f"{module}.0" if module.endswith(".to_out") else module


def _text_name(module: str) -> str:
    before, _, last = module.rpartition(".")
    module = f"{before}.{_TEXT_OLD[last]}" if last in _TEXT_OLD else module
    # transformers has dropped the level `text_model` in its own names
    return f"text_model.{module}" if module.startswith("encoder.") else module


def _checked(part: str, module: str) -> str | None:
    return f"{part}.{module}" if (_UNET if part == "unet" else _TEXT).fullmatch(module) else None


def _with_dots(flat: str) -> str:
    return _WORD.sub(lambda found: found[1] + ("." if found[2] else ""), flat)
