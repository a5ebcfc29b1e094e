from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig as LoraPeftConfig
from safetensors.torch import load_file

from emote.config import AdapterDtype
from emote.lora.adapter import attach, without_adapter
from emote.lora.adapter_file import Adapter, read_adapter
from emote.lora.formats import read_metadata, save_diffusers, save_kohya, write_diffusers, write_kohya
from emote.lora.loading import load_for_sampling, remove_layers
from emote.lora.resize import cast, reduce_rank
from emote.models.prompts import PromptEncoder
from emote.util.errors import ConfigError
from tests.conftest import assemble
from tests.lora.adapter_files import kohya_with_text, published
from tests.models.helpers import PRESETS, answer, fresh_unet, learn, lora_config

SCALES = ((4, 4.0), (4, 8.0), (3, 0.5))


@pytest.fixture(scope="module")
def stock(tiny_sd: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(tiny_sd)


def trained(tiny_sd: Path, frozen: torch.dtype = torch.float32, **changes: Any) -> Any:
    unet = fresh_unet(tiny_sd, frozen)
    attach(unet, lora_config(**changes))
    learn(unet)
    return unet


def write_diffusers_file(unet: Any, folder: Path, **changes: Any) -> Path:
    return save_diffusers(unet, folder, lora_config(**changes))


def write_kohya_file(unet: Any, folder: Path, **changes: Any) -> Path:
    return save_kohya(unet, folder / "style.safetensors", lora_config(**changes), {})


WRITERS = [pytest.param(write_diffusers_file, id="diffusers"), pytest.param(write_kohya_file, id="kohya")]


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
    tensors = load_file(write_kohya_file(unet, tmp_path, targets="all", alpha=2.0))
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
    assert json.loads(read_metadata(file)[LORA_ADAPTER_METADATA_KEY])["unet.lora_alpha"] == 0.5


def test_the_header_says_all_that_older_readers_ask_for_and_nothing_that_they_do_not_know(
    tiny_sd: Path, tmp_path: Path
) -> None:
    header = read_metadata(save_diffusers(trained(tiny_sd), tmp_path, lora_config()))
    told = json.loads(header[LORA_ADAPTER_METADATA_KEY])
    assert (told["unet.rank_pattern"], told["unet.alpha_pattern"]) == ({}, {})  # diffusers before 0.40
    known_to_peft_0_9 = {
        "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "bias", "init_lora_weights",
        "lora_dropout", "use_dora", "use_rslora",
    }  # fmt: skip
    assert {key.removeprefix("unet.") for key in told} == known_to_peft_0_9
    plain = LoraPeftConfig().to_dict()
    assert all(told[f"unet.{key}"] == plain[key] for key in known_to_peft_0_9 - {"r", "lora_alpha", "target_modules"})


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


def test_an_adapter_of_the_text_encoder_too_changes_both_as_a_stock_pipeline_does(
    tiny_sd: Path, tmp_path: Path
) -> None:
    file = kohya_with_text(tmp_path / "style.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    plain = pipeline.encode_prompt("a cat", "cpu", 1, False)[0]
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    wanted = pipeline.encode_prompt("a cat", "cpu", 1, False)[0]
    assert not torch.allclose(wanted, plain, atol=1e-3)
    unet, encoder = fresh_unet(tiny_sd), PromptEncoder(tiny_sd)
    assert load_for_sampling(unet, file, encoder.encoders)
    assert torch.equal(encoder(["a cat"]), wanted) and torch.equal(answer(unet), answer(pipeline.unet))
    for part in (unet, *encoder.encoders.values()):
        remove_layers(part)
    assert torch.equal(encoder(["a cat"]), plain) and torch.equal(answer(unet), answer(fresh_unet(tiny_sd)))
    wide = kohya_with_text(tmp_path / "wide.safetensors", width=24)
    with pytest.raises(ConfigError, match="another base model"):
        load_for_sampling(unet, wide, encoder.encoders)
    assert torch.equal(encoder(["a cat"]), plain)


def test_what_is_no_adapter_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    unet = fresh_unet(tiny_sd)
    with pytest.raises(ConfigError, match="no adapter at"):
        load_for_sampling(unet, tmp_path)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    with pytest.raises(ConfigError, match="no safetensors file"):
        load_for_sampling(unet, broken)
    with pytest.raises(ConfigError, match="whole model"):
        load_for_sampling(unet, tiny_sd / "vae" / "diffusion_pytorch_model.safetensors")


def same(one: Adapter, other: Adapter) -> bool:
    """The same layers with the same bits, and the same alpha."""
    pairs = [(layer, other.layers.get(name)) for name, layer in one.layers.items()]
    return one.layers.keys() == other.layers.keys() and all(
        theirs is not None
        and torch.equal(ours.down, theirs.down)
        and torch.equal(ours.up, theirs.up)
        and (ours.down.dtype, ours.up.dtype) == (theirs.down.dtype, theirs.up.dtype)
        and torch.tensor(ours.alpha) == torch.tensor(theirs.alpha)  # float32, as a kohya file has it
        for ours, theirs in pairs
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_our_file_for_diffusers_comes_back_from_kohyas_byte_for_byte(
    tiny_sd: Path, tmp_path: Path, preset: str
) -> None:
    changes: dict[str, Any] = {"targets": preset, "alpha": 0.3, "rank": 3}
    there = save_diffusers(trained(tiny_sd, **changes), tmp_path / "there", lora_config(**changes))
    kohya = write_kohya(read_adapter(there), tmp_path / "kohya.safetensors")
    back = write_diffusers(read_adapter(kohya), tmp_path / "back.safetensors")
    assert back.read_bytes() == there.read_bytes()
    assert same(read_adapter(kohya), read_adapter(there))


@pytest.mark.parametrize("preset", PRESETS)
def test_our_two_files_hold_the_same(tiny_sd: Path, tmp_path: Path, preset: str) -> None:
    unet = trained(tiny_sd, targets=preset, alpha=2.5)
    one, other = (
        read_adapter(write(unet, tmp_path, targets=preset, alpha=2.5))
        for write in (write_diffusers_file, write_kohya_file)
    )
    assert same(one, other)


def test_a_published_file_becomes_384_tensors_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    there = published(tmp_path / "there.safetensors")
    kohya = write_kohya(read_adapter(there), tmp_path / "kohya.safetensors")
    tensors = load_file(kohya)
    assert len(tensors) == 128 * 3
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(float(tensor) == 4.0 for name, tensor in tensors.items() if name.endswith(".alpha"))
    assert read_metadata(kohya)["ss_base_model_version"] == "sd_v1"
    back = load_file(write_diffusers(read_adapter(kohya), tmp_path / "back.safetensors"))
    original = load_file(there)
    assert back.keys() == original.keys()
    assert all(
        torch.equal(back[name], tensor) and back[name].dtype is tensor.dtype for name, tensor in original.items()
    )
    assert read_metadata(tmp_path / "back.safetensors") == read_metadata(there)  # alpha was not stored, and is not now


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_foreign_kohya_file_comes_back_from_diffusers_with_its_texts(tmp_path: Path, dtype: torch.dtype) -> None:
    there = kohya_with_text(tmp_path / "there.safetensors", dtype=dtype)
    middle = write_diffusers(read_adapter(there), tmp_path / "middle.safetensors")
    back = write_kohya(read_adapter(middle), tmp_path / "back.safetensors")
    original, tensors = load_file(there), load_file(back)
    assert tensors.keys() == original.keys()
    assert all(torch.equal(tensors[n], t) and tensors[n].dtype is t.dtype for n, t in original.items())
    assert read_metadata(there).items() <= read_metadata(middle).items()
    assert read_metadata(there).items() <= read_metadata(back).items()


def test_a_stock_pipeline_draws_the_same_from_a_foreign_kohya_file_and_what_it_is_made_into(
    tiny_sd: Path, tmp_path: Path
) -> None:
    """Ranks differ from layer to layer, and the text encoder is adapted too."""
    there = kohya_with_text(tmp_path / "there.safetensors")
    write_diffusers(read_adapter(there), tmp_path / "made.safetensors")
    answers = []
    for name in (None, "there.safetensors", "made.safetensors"):
        pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
        if name:
            pipeline.load_lora_weights(str(tmp_path), weight_name=name)
        with torch.no_grad():
            answers.append((answer(pipeline.unet), pipeline.encode_prompt("a cat", "cpu", 1, False)[0]))
    for plain, theirs, made in zip(*answers, strict=True):
        assert torch.equal(made, theirs)
        assert not torch.allclose(made, plain, atol=1e-3)


def test_a_header_that_is_not_true_any_more_does_not_come_back(tiny_sd: Path, tmp_path: Path) -> None:
    there = save_diffusers(trained(tiny_sd, alpha=2.0), tmp_path / "there", lora_config(alpha=2.0))
    kohya = write_kohya(read_adapter(there), tmp_path / "kohya.safetensors")
    smaller = reduce_rank(read_adapter(kohya), 2)
    back = read_adapter(write_diffusers(smaller, tmp_path / "back.safetensors"))
    assert same(back, smaller)
    assert {(layer.rank, layer.alpha) for layer in back.layers.values()} == {(2, 2.0)}
    told = read_metadata(write_kohya(smaller, tmp_path / "smaller.safetensors"))
    assert (told["ss_network_dim"], told["ss_network_alpha"]) == ("2", "2.0")


def test_alpha_is_stored_exactly_whatever_the_matrices_are(tiny_sd: Path, tmp_path: Path) -> None:
    adapter = cast(read_adapter(write_kohya_file(trained(tiny_sd, alpha=0.3), tmp_path, alpha=0.3)), torch.bfloat16)
    tensors = load_file(write_kohya(adapter, tmp_path / "half.safetensors"))
    assert {tensor.dtype for name, tensor in tensors.items() if name.endswith("alpha")} == {torch.float32}
    assert same(read_adapter(tmp_path / "half.safetensors"), adapter)


def test_a_pipeline_reads_layers_of_different_ranks(tiny_sd: Path, tmp_path: Path) -> None:
    unet = trained(tiny_sd, targets="all", rank=6, alpha=3.0)
    adapter = read_adapter(save_diffusers(unet, tmp_path / "a", lora_config(targets="all", rank=6, alpha=3.0)))
    attention = {name: layer for name, layer in adapter.layers.items() if ".to_" in name}
    reduced = reduce_rank(Adapter(attention, adapter.base), 2)
    mixed = Adapter(adapter.layers | reduced.layers, adapter.base)
    answers = []
    for write in (write_diffusers, write_kohya):
        fresh = fresh_unet(tiny_sd)
        load_for_sampling(fresh, write(mixed, tmp_path / f"{write.__name__}.safetensors"))
        answers.append(answer(fresh))
    parts = StableDiffusionPipeline.from_pretrained(tiny_sd)
    parts.load_lora_weights(str(tmp_path), weight_name="write_diffusers.safetensors")
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answer(parts.unet))
