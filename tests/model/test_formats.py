from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from emote.config import AdapterDtype, ConfigError
from emote.model.adapter import attach, trainable, without_adapter
from emote.model.formats import kohya_name, load_for_sampling, read_metadata, save_diffusers, save_kohya
from tests.conftest import assemble
from tests.model.helpers import PRESETS, answer, fresh_unet, learn, lora_config, sd15_unet

SCALES = ((4, 4.0), (4, 8.0), (3, 0.5))


@pytest.fixture(scope="module")
def stock(tiny_sd: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(tiny_sd)


def trained(tiny_sd: Path, frozen: torch.dtype = torch.float32, **changes: Any) -> Any:
    unet = fresh_unet(tiny_sd, frozen)
    attach(unet, lora_config(**changes))
    learn(unet)
    return unet


def write_diffusers(unet: Any, folder: Path, **changes: Any) -> Path:
    return save_diffusers(unet, folder, lora_config(**changes))


def write_kohya(unet: Any, folder: Path, **changes: Any) -> Path:
    return save_kohya(unet, folder / "style.safetensors", lora_config(**changes), {})


WRITERS = [pytest.param(write_diffusers, id="diffusers"), pytest.param(write_kohya, id="kohya")]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("rank", "alpha"), SCALES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_stock_pipeline_draws_as_the_trained_unet_did(
    tiny_sd: Path, stock: Any, tmp_path: Path, write: Callable[..., Path], preset: str, rank: int, alpha: float
) -> None:
    changes: dict[str, Any] = {"targets": preset, "rank": rank, "alpha": alpha}
    unet = trained(tiny_sd, **changes)
    file = write(unet, tmp_path, **changes)
    parts = stock.components | {"unet": fresh_unet(tiny_sd)}
    pipeline = assemble(**parts, requires_safety_checker=False)
    plain = answer(pipeline.unet)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    assert torch.equal(answer(pipeline.unet), answer(unet))
    assert not torch.allclose(answer(unet), plain, atol=1e-3)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_our_own_loader_reads_both_files(
    tiny_sd: Path, tmp_path: Path, write: Callable[..., Path], preset: str
) -> None:
    changes: dict[str, Any] = {"targets": preset, "alpha": 2.0, "dropout": 0.3}
    unet = trained(tiny_sd, **changes)
    fresh = fresh_unet(tiny_sd)
    load_for_sampling(fresh, write(unet, tmp_path, **changes))
    assert torch.equal(answer(fresh), answer(unet))
    with without_adapter(fresh):
        assert torch.equal(answer(fresh), answer(fresh_unet(tiny_sd)))
    assert not fresh.training and not any(p.requires_grad for p in fresh.parameters())


def test_the_unet_itself_loads_the_diffusers_file(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, alpha=8.0)
    file = save_diffusers(unet, tmp_path, lora_config(alpha=8.0))
    fresh = fresh_unet(tiny_sd)
    fresh.load_lora_adapter(str(tmp_path), weight_name=file.name, prefix="unet")
    assert torch.equal(answer(fresh), answer(unet))


def test_a_list_of_targets_reloads(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, targets=["conv1", "to_q"], alpha=1.0)
    save_diffusers(unet, tmp_path, lora_config(targets=["conv1", "to_q"], alpha=1.0))
    fresh = fresh_unet(tiny_sd)
    load_for_sampling(fresh, tmp_path)  # the directory will do
    assert torch.equal(answer(fresh), answer(unet))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("frozen", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("preset", ["attention", "all"])
def test_a_float32_adapter_on_half_precision_weights_round_trips_exactly(
    tiny_sd: Path, tmp_path: Path, write: Callable[..., Path], frozen: torch.dtype, preset: str
) -> None:
    unet = trained(tiny_sd, frozen, targets=preset, alpha=2.0)
    file = write(unet, tmp_path, targets=preset, alpha=2.0)
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}
    fresh = fresh_unet(tiny_sd, frozen)
    load_for_sampling(fresh, file)
    assert torch.equal(answer(fresh), answer(unet))


def test_a_bfloat16_adapter_is_saved_exactly(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, torch.bfloat16, dtype=AdapterDtype.bfloat16)
    tensors = load_file(save_diffusers(unet, tmp_path, lora_config()))
    for name, parameter in unet.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(tensors["unet." + name.replace(".default", "")], parameter.detach().float())


def test_kohya_names_and_shapes_are_those_of_its_own_scripts(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, targets="all", alpha=2.0)
    tensors = load_file(write_kohya(unet, tmp_path, targets="all", alpha=2.0))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert shapes[f"{attention}.lora_down.weight"] == (4, 16)
    assert shapes[f"{attention}.lora_up.weight"] == (16, 4)
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0.alpha" in shapes
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_up.weight" in shapes
    assert shapes["lora_unet_down_blocks_0_downsamplers_0_conv.lora_down.weight"] == (4, 16, 3, 3)
    assert shapes["lora_unet_down_blocks_0_downsamplers_0_conv.lora_up.weight"] == (16, 4, 1, 1)
    assert shapes["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"] == (4, 16, 1, 1)
    assert shapes["lora_unet_mid_block_resnets_0_time_emb_proj.lora_down.weight"] == (4, 64)
    alphas = [tensor for name, tensor in tensors.items() if name.endswith(".alpha")]
    assert 3 * len(alphas) == len(tensors)
    assert all(alpha.shape == () and float(alpha) == 2.0 for alpha in alphas)
    modules = {"lora_unet_" + name.replace(".", "_") for name, _ in fresh_unet(tiny_sd).named_modules()}
    assert {name.split(".")[0] for name in tensors} <= modules


def test_every_name_of_sd15_is_one_that_comfyui_maps() -> None:
    """The forms are those of `unet_to_diffusers` in ComfyUI's comfy/utils.py."""
    block = r"(down_blocks_\d|up_blocks_\d|mid_block)"
    resnet = r"resnets_\d_(conv1|conv2|conv_shortcut|time_emb_proj)"
    layer = r"(attn[12]_to_(q|k|v|out_0)|ff_net_0_proj|ff_net_2)"
    attention = rf"attentions_\d_(proj_in|proj_out|transformer_blocks_0_{layer})"
    known = re.compile(rf"lora_unet_{block}_({resnet}|{attention}|(down|up)samplers_0_conv)")
    unet = sd15_unet()
    attach(unet, lora_config(targets="all"))
    names = {kohya_name(name.rsplit(".lora_", 1)[0]) for name in trainable(unet)}
    assert len(names) == 278
    assert all(known.fullmatch(name) for name in names)


def test_kohya_metadata_says_what_the_file_is_and_passes_the_callers_on(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, alpha=2.0)
    given = {"modelspec.title": "Emoji", "ss_base_model_version": "mini", "ss_learning_rate": "1e-4"}
    file = save_kohya(unet, tmp_path / "style.safetensors", lora_config(alpha=2.0), given)
    told = read_metadata(file)
    turned = save_kohya(unet, tmp_path / "b" / file.name, lora_config(alpha=2.0), dict(reversed(given.items())))
    assert turned.read_bytes() == file.read_bytes()
    assert given.items() <= told.items()
    assert (told["ss_network_module"], told["ss_network_dim"], told["ss_network_alpha"]) == (
        "networks.lora", "4", "2.0",
    )  # fmt: skip
    assert told["modelspec.architecture"] == "stable-diffusion-other/lora"  # not SD 1, for which it would be offered
    content = file.read_bytes()
    body = content[8 + int.from_bytes(content[:8], "little") :]
    assert told["modelspec.hash_sha256"] == f"0x{hashlib.sha256(body).hexdigest()}"


def test_the_diffusers_file_has_one_style_of_names_and_its_alpha(tiny_sd: Path, tmp_path: Path) -> None:
    file = save_diffusers(trained(tiny_sd, targets="all"), tmp_path, lora_config(targets="all", alpha=0.5))
    assert file.name == "pytorch_lora_weights.safetensors"
    names = list(load_file(file))
    assert all(n.startswith("unet.") and n.endswith((".lora_A.weight", ".lora_B.weight")) for n in names)
    assert json.loads(read_metadata(file)["lora_adapter_metadata"])["unet.lora_alpha"] == 0.5


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_adapter_gives_the_same_bytes(tiny_sd: Path, tmp_path: Path, write: Callable[..., Path]) -> None:
    contents = [write(trained(tiny_sd, targets="all"), tmp_path / str(i), targets="all").read_bytes() for i in (0, 1)]
    assert contents[0] == contents[1]
    assert [file.name for file in (tmp_path / "0").iterdir()] == [next((tmp_path / "1").iterdir()).name]  # no leftovers


@pytest.mark.parametrize("write", WRITERS)
def test_an_adapter_of_another_base_model_is_refused(tiny_sd: Path, tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write(trained(tiny_sd), tmp_path)
    other = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=8, attention_head_dim=2,
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="another base model"):
        load_for_sampling(other, file)


def test_an_adapter_of_the_text_encoder_too_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    file = write_kohya(trained(tiny_sd), tmp_path)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    extra = {f"{name}.lora_down.weight": torch.zeros(4, 16), f"{name}.lora_up.weight": torch.zeros(32, 4)}
    save_file(load_file(file) | extra, file)
    with pytest.raises(ConfigError, match="text encoder"):
        load_for_sampling(fresh_unet(tiny_sd), file)


def test_what_is_no_adapter_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    unet = fresh_unet(tiny_sd)
    with pytest.raises(ConfigError, match="no adapter at"):
        load_for_sampling(unet, tmp_path)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    with pytest.raises(ConfigError, match="not an adapter"):
        load_for_sampling(unet, broken)
    with pytest.raises(ConfigError):
        load_for_sampling(unet, tiny_sd / "vae" / "diffusion_pytorch_model.safetensors")
