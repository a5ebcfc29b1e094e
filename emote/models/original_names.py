"""Names of weights in the original Stable Diffusion checkpoints (CompVis's and Stability's), from and to diffusers'.

The UNet's blocks are counted through there: `input_blocks.4.1` is `down_blocks.1.attentions.0`. The layout is that of
ldm/modules/diffusionmodules/openaimodel.py and model.py; OpenCLIP's is that of open_clip/transformer.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# a ResNet's parts, and what stands outside the blocks: diffusers' name → the original's
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTSIDE = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_ATTENTION = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
    "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",  # as diffusers called them until 0.17
}  # fmt: skip
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
OPEN_CLIP_OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",  # transposed
}


@dataclass(frozen=True)
class UNetLayout:
    """How a UNet's blocks are counted: ResNets in a block on the way down, and the blocks upwards with attention."""

    layers_per_block: int = 2
    attention_up: frozenset[int] = frozenset()

    @classmethod
    def of(cls, config: dict) -> UNetLayout:
        """Return the layout of a UNet by its diffusers configuration."""
        kinds = enumerate(config["up_block_types"])
        return cls(int(config["layers_per_block"]), frozenset(i for i, kind in kinds if "CrossAttn" in kind))

    def to_original(self, name: str) -> str:
        """Return the original's name for diffusers' name of a module or weight. Raises ValueError where it has none."""
        stride = self.layers_per_block + 1
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
            kind, index, rest = found[1], int(found[2]), found[3]
            return f"middle_block.{2 * index if kind == 'resnets' else 2 * index + 1}.{_original_rest(kind, rest)}"
        if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name):
            way, block, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
            if kind == "downsamplers":
                return f"input_blocks.{stride * (block + 1)}.0.{rest.replace('conv', 'op', 1)}"
            if kind == "upsamplers":
                slot = 2 if block in self.attention_up else 1
                return f"output_blocks.{stride * (block + 1) - 1}.{slot}.{rest}"
            count = stride * block + index + (1 if way == "down" else 0)
            slot = 0 if kind == "resnets" else 1
            return f"{'input' if way == 'down' else 'output'}_blocks.{count}.{slot}.{_original_rest(kind, rest)}"
        return _swap_start(name, OUTSIDE)

    def to_diffusers(self, name: str) -> str:
        """Return diffusers' name for the original's. Raises ValueError for a name that the original does not have."""
        stride = self.layers_per_block + 1
        if name.startswith("input_blocks.0.") or not re.match(r"(input|middle|output)_block", name):
            return _swap_start(name, {original: ours for ours, original in OUTSIDE.items()})
        if found := re.fullmatch(r"middle_block\.(\d)\.(.+)", name):
            kind = "attentions" if int(found[1]) % 2 else "resnets"
            return f"mid_block.{kind}.{int(found[1]) // 2}.{_diffusers_rest(kind, found[2])}"
        found = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name)
        if found is None:
            raise ValueError(name)
        way, count, slot, rest = found[1], int(found[2]) - (found[1] == "input"), int(found[3]), found[4]
        block, index = divmod(count, stride)
        direction = "down" if way == "input" else "up"
        if way == "input" and rest.split(".")[0] == "op":
            return f"down_blocks.{block}.downsamplers.0.{rest.replace('op', 'conv', 1)}"
        if way == "output" and rest.split(".")[0] == "conv":
            return f"up_blocks.{block}.upsamplers.0.{rest}"
        kind = "attentions" if slot == 1 else "resnets"
        return f"{direction}_blocks.{block}.{kind}.{index}.{_diffusers_rest(kind, rest)}"


# the UNet of SDXL, whose original names kohya's scripts train it by
SDXL = UNetLayout(2, frozenset({0, 1}))


def vae_to_original(name: str, blocks: int) -> str:
    """The original's name for diffusers' name of an autoencoder's weight; `blocks`: how many lie on the way down.

    The attention's Linear weights [C, C] are 1×1 convolutions there. Raises ValueError where it has no name.
    """
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        half, kind, index, rest = found[1], found[2], int(found[3]), found[4]
        rest = _swap_start(rest, VAE_ATTENTION) if kind == "attentions" else rest
        return f"{half}.mid.{'attn' if kind == 'attentions' else 'block'}_{index + 1}.{rest}"
    if found := re.fullmatch(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name):
        half, way, kind, number, rest = found.group(1, 2, 4, 5, 6)
        block = int(found[3]) if way == "down" else blocks - 1 - int(found[3])  # counted from the other end there
        inner = f"block.{number}" if kind == "resnets" else f"{way}sample"
        return f"{half}.{way}.{block}.{inner}.{rest}"
    if re.fullmatch(r"((encoder|decoder)\.(conv_in|conv_out|norm_out)|(post_)?quant_conv)\.(weight|bias)", name):
        return name
    raise ValueError(name)


def open_clip_name(name: str) -> str:
    """OpenCLIP's name for transformers' name of a text encoder's weight. Raises ValueError where it has none.

    Query, key and value are one tensor there, `….attn.in_proj_weight`, in this order, and have the same name here.
    """
    if name in OPEN_CLIP_OUTSIDE:
        return OPEN_CLIP_OUTSIDE[name]
    found = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if found is None:
        raise ValueError(name)
    layer, rest, kind = found.groups()
    if re.fullmatch(r"self_attn\.[qkv]_proj", rest):
        return f"transformer.resblocks.{layer}.attn.in_proj_{kind}"
    return f"transformer.resblocks.{layer}.{_swap_start(rest, OPEN_CLIP_LAYER)}.{kind}"


def _original_rest(kind: str, rest: str) -> str:
    return _swap_start(rest, RESNET) if kind == "resnets" else rest


def _diffusers_rest(kind: str, rest: str) -> str:
    return _swap_start(rest, {original: ours for ours, original in RESNET.items()}) if kind == "resnets" else rest


def _swap_start(name: str, table: dict[str, str]) -> str:
    for ours, theirs in table.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    raise ValueError(name)
