"""Which layer other tools take each name of our kohya file for, by their own rules, recomputed here.

The rules are those of kohya-ss/sd-scripts (networks/lora.py), ComfyUI (comfy/lora.py, comfy/utils.py), A1111's web UI
(extensions-builtin/Lora/networks.py) and diffusers' SDXL loader. ComfyUI and A1111 hold the original model: the layers'
right names there are those that test_original_names.py has diffusers' converter confirm.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import convert_unet_state_dict_to_peft

from emote.config import TARGET_PRESETS
from emote.lora.layer_names import kohya_name, layer_name
from emote.models.original_names import UNetLayout
from tests.lora.adapter_files import adapted, sdxl_unet
from tests.models.helpers import sd15_unet


@functools.cache
def unet_of(model: str) -> Any:
    return sd15_unet() if model == "sd15" else sdxl_unet()


@functools.cache
def targets(model: str) -> list[str]:
    """Every module that `lora.targets=all` adapts."""
    found = list(adapted(unet_of(model), TARGET_PRESETS["all"]))
    assert len(found) == {"sd15": 278, "sdxl": 788}[model]
    return found


@functools.cache
def ours(model: str) -> dict[str, str]:
    """Module → its name in our kohya file."""
    return {name: kohya_name(f"unet.{name}", sdxl=model == "sdxl") for name in targets(model)}


@functools.cache
def original(model: str) -> dict[str, str]:
    """Module → its name in the original model, for every module with weights."""
    unet = unet_of(model)
    layout = UNetLayout.of(unet.config)
    return {name.removesuffix(".weight"): layout.to_original(name.removesuffix(".weight"))
            for name in unet.state_dict() if name.endswith(".weight")}  # fmt: skip


@functools.cache
def right(model: str) -> dict[str, str]:
    return {module: name for module, name in original(model).items() if module in ours(model)}


@functools.cache
def shapes_of_the_blocks(model: str) -> tuple[int, list[int], list[int], int]:
    """(ResNets in a block, transformers' depth in each block down, in each ResNet's place up, in the middle)."""
    depth = {"sd15": [1, 1, 1, 0], "sdxl": [0, 2, 10]}[model]
    return 2, depth, list(reversed(depth)), {"sd15": 1, "sdxl": 10}[model]


def kohya_layers(model: str) -> set[str]:
    """The names that its scripts give to the Linear and Conv2d inside the classes that they adapt."""
    classes = ("Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D")
    found = set()
    for parent, block in unet_of(model).named_modules():
        if type(block).__name__ not in classes:
            continue
        for child, module in block.named_modules():
            if type(module).__name__ in ("Linear", "Conv2d"):
                found.add(f"{parent}.{child}")
    # SDXL's UNet is the original one in these scripts, and its classes have the same names there
    names = [original(model)[name] for name in found] if model == "sdxl" else found
    return {"lora_unet_" + name.replace(".", "_") for name in names}


@functools.cache
def comfy_map(model: str) -> dict[str, str]:
    """Name in an adapter file → the original's module."""
    known = {"lora_unet_" + name.replace(".", "_"): name for name in original(model).values()}
    resnets, down, up, middle = shapes_of_the_blocks(model)
    resnet = {"in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.3": "conv2",
              "skip_connection": "conv_shortcut"}  # fmt: skip
    layer = [f"attn{i}.to_{letter}" for i in (1, 2) for letter in ("q", "k", "v", "out.0")] + [
        "ff.net.0.proj",
        "ff.net.2",
    ]
    diffusers: dict[str, str] = {}

    def add_resnet(ours: str, theirs: str) -> None:
        diffusers.update({f"{ours}.{inner}": f"{theirs}.{name}" for name, inner in resnet.items()})

    def add_transformers(ours: str, theirs: str, depth: int) -> None:
        inside = ["proj_in", "proj_out"] + [f"transformer_blocks.{t}.{name}" for t in range(depth) for name in layer]
        diffusers.update({f"{ours}.{name}": f"{theirs}.{name}" for name in inside})

    for block, depth in enumerate(down):
        for i in range(resnets):
            place = 1 + (resnets + 1) * block + i
            add_resnet(f"down_blocks.{block}.resnets.{i}", f"input_blocks.{place}.0")
            if depth:
                add_transformers(f"down_blocks.{block}.attentions.{i}", f"input_blocks.{place}.1", depth)
        diffusers[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{(resnets + 1) * (block + 1)}.0.op"
    add_transformers("mid_block.attentions.0", "middle_block.1", middle)
    add_resnet("mid_block.resnets.0", "middle_block.0")
    add_resnet("mid_block.resnets.1", "middle_block.2")
    for block, depth in enumerate(up):
        for i in range(resnets + 1):
            place = (resnets + 1) * block + i
            add_resnet(f"up_blocks.{block}.resnets.{i}", f"output_blocks.{place}.0")
            if depth:
                add_transformers(f"up_blocks.{block}.attentions.{i}", f"output_blocks.{place}.1", depth)
        diffusers[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{place}.{2 if depth else 1}.conv"
    known |= {"lora_unet_" + name.replace(".", "_"): theirs for name, theirs in diffusers.items()}
    for name, theirs in diffusers.items():  # diffusers' attention processors, whose names end before the number
        known[f"unet.{name.replace('.to_', '.processor.to_').removesuffix('.0')}"] = theirs
    return known


@functools.cache
def a1111_modules(model: str) -> dict[str, str]:
    return {"diffusion_model_" + name.replace(".", "_"): name for name in original(model).values()}


def a1111_layer(model: str, key: str) -> str | None:
    """The original's module that it finds for a tensor of an adapter file."""
    modules = a1111_modules(model)
    name = key.split(".")[0]  # what stands before the first dot
    found = modules.get(a1111_name(name))
    return found or modules.get(name.replace("lora_unet", "diffusion_model"))


def a1111_name(name: str) -> str:
    rest = name.removeprefix("lora_unet_")
    resnet = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1",
              "conv_shortcut": "skip_connection"}  # fmt: skip
    if m := re.match(r"(down|up)_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", rest):
        place = 3 * int(m[2]) + int(m[4]) + (m[1] == "down")
        inner = resnet.get(m[5], m[5]) if m[3] == "resnets" else m[5]
        return (
            f"diffusion_model_{'in' if m[1] == 'down' else 'out'}put_blocks_{place}_{int(m[3] == 'attentions')}_{inner}"
        )
    if m := re.match(r"mid_block_(attentions|resnets)_(\d+)_(.+)", rest):
        place = 1 if m[1] == "attentions" else 2 * int(m[2])
        return f"diffusion_model_middle_block_{place}_{resnet.get(m[3], m[3]) if m[1] == 'resnets' else m[3]}"
    if m := re.match(r"down_blocks_(\d+)_downsamplers_0_conv", rest):
        return f"diffusion_model_input_blocks_{3 + 3 * int(m[1])}_0_op"
    if m := re.match(r"up_blocks_(\d+)_upsamplers_0_conv", rest):
        return f"diffusion_model_output_blocks_{2 + 3 * int(m[1])}_{2 if int(m[1]) else 1}_conv"
    return name


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_every_name_is_one_that_kohyas_scripts_give(model: str) -> None:
    assert set(ours(model).values()) <= kohya_layers(model)


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_comfyui_finds_the_right_layer_for_every_name(model: str) -> None:
    known = comfy_map(model)
    assert {module: known.get(name) for module, name in ours(model).items()} == right(model)


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_a1111_finds_the_right_layer_for_every_name(model: str) -> None:
    found = {module: a1111_layer(model, f"{name}.lora_up.weight") for module, name in ours(model).items()}
    assert found == right(model)


def test_a1111_would_lose_a_layer_of_sdxl_under_diffusers_names() -> None:
    names = {module: kohya_name(f"unet.{module}") for module in targets("sdxl")}
    found = {module: a1111_layer("sdxl", name) for module, name in names.items()}
    assert [module for module in found if found[module] != right("sdxl")[module]] == ["up_blocks.0.upsamplers.0.conv"]


def test_neither_finds_any_layer_for_the_names_of_diffusers_own_file() -> None:
    keys = [f"unet.{module}" for module in targets("sd15") if ".to_" in module]
    assert not comfy_map("sd15").keys() & set(keys)
    assert not any(a1111_layer("sd15", f"{key}.lora_A.weight") for key in keys)


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_diffusers_finds_the_right_layer_for_every_name(model: str) -> None:
    file = {f"{name}.{part}": torch.zeros(1, 1) if part != "alpha" else torch.tensor(2.0)
            for name in ours(model).values() for part in ("lora_down.weight", "lora_up.weight", "alpha")}  # fmt: skip
    state, alphas = StableDiffusionXLPipeline.lora_state_dict(file, unet_config=unet_of(model).config)
    found = {name.removeprefix("unet.").rsplit(".", 2)[0] for name in convert_unet_state_dict_to_peft(state)}
    assert found == set(ours(model))
    assert set(alphas.values()) == {2.0} and len(alphas) == len(found)


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_our_own_reader_finds_the_right_layer_for_every_name(model: str) -> None:
    for module, name in ours(model).items():
        assert layer_name(name) == layer_name(kohya_name(f"unet.{module}")) == f"unet.{module}"
