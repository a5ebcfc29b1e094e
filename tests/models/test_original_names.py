"""Names of the original checkpoints: diffusers' own converter must take them for what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from emote.models.original_names import SDXL, UNetLayout, open_clip_name, vae_to_original
from tests.lora.adapter_files import sdxl_unet
from tests.models.helpers import fresh_unet, sd15_unet


def check_both_ways(unet: Any) -> None:
    layout = UNetLayout.of(unet.config)
    weights = unet.state_dict()
    original = {f"model.diffusion_model.{layout.to_original(name)}": tensor for name, tensor in weights.items()}
    assert len(original) == len(weights)
    converted = convert_ldm_unet_checkpoint(original, dict(unet.config))
    assert converted.keys() == weights.keys()
    assert all(converted[name] is tensor for name, tensor in weights.items())
    assert all(layout.to_diffusers(layout.to_original(name)) == name for name in weights)


@pytest.mark.parametrize("build", [sd15_unet, sdxl_unet])
def test_every_weight_of_the_published_unets_is_named_as_diffusers_expects(build: Any) -> None:
    check_both_ways(build())


def test_every_weight_of_a_small_unet_is_named_as_diffusers_expects(tiny_sd: Path) -> None:
    check_both_ways(fresh_unet(tiny_sd))


def test_sdxls_layout_is_that_of_its_configuration() -> None:
    assert UNetLayout.of(sdxl_unet().config) == SDXL


def sd15_vae() -> AutoencoderKL:
    with torch.device("meta"):
        return AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )


@pytest.mark.parametrize("old", [False, True])
def test_every_weight_of_the_autoencoder_is_named_as_diffusers_expects(old: bool) -> None:
    vae = sd15_vae()
    once = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."} if old else {}
    original = {}
    for name, tensor in vae.state_dict().items():
        stored = name
        for ours, theirs in once.items():
            stored = stored.replace(ours, theirs)
        is_matrix = ".mid.attn_1." in vae_to_original(stored, 4) and tensor.ndim == 2
        original[f"first_stage_model.{vae_to_original(stored, 4)}"] = tensor[..., None, None] if is_matrix else tensor
    converted = convert_ldm_vae_checkpoint(original, dict(vae.config))
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in vae.state_dict().items()
    }


def test_every_weight_of_an_open_clip_is_named_as_diffusers_expects() -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    generator = torch.Generator().manual_seed(0)
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=12, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=4, projection_dim=8, bos_token_id=10, eos_token_id=11,
        )
    )  # fmt: skip
    weights = {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in encoder.state_dict().items()
        if not name.endswith("position_ids")
    }
    together: dict[str, list[torch.Tensor]] = {}
    for name in sorted(weights, key=lambda name: "qkv".find(name.split("_proj")[0][-1])):
        together.setdefault(f"conditioner.embedders.1.model.{open_clip_name(name)}", []).append(weights[name])
    original = {name: torch.cat(tensors) for name, tensors in together.items()}
    original["conditioner.embedders.1.model.text_projection"] = original[
        "conditioner.embedders.1.model.text_projection"
    ].T
    converted = convert_open_clip_checkpoint(encoder, original, prefix="conditioner.embedders.1.model.")
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("name", ["nonsense.weight", "down_blocks.0.motion_modules", "encoder.layers.0.mlp.fc1.weight"])
def test_what_the_original_does_not_have_is_an_error(name: str) -> None:
    for convert in (SDXL.to_original, SDXL.to_diffusers, lambda name: vae_to_original(name, 4), open_clip_name):
        with pytest.raises(ValueError, match=name.split(".")[0]):
            convert(name)
