from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from emote.lora.adapter_file import Adapter, Layer, read_adapter
from emote.lora.base_family import Base
from emote.lora.fuse import Recipe, fuse_to_directory, fuse_to_file
from emote.models.single_file import OneFile
from emote.util.errors import ConfigError
from tests.lora.adapter_files import kohya_with_text
from tests.models.helpers import answer
from tests.models.single_files import write_single_file


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Two layers of the UNet and three of the text encoder, and a convolution."""
    layers = read_adapter(kohya_with_text(tmp_path_factory.mktemp("adapter") / "x.safetensors")).layers
    generator = torch.Generator().manual_seed(8)
    conv = Layer(torch.randn(2, 16, 3, 3, generator=generator), torch.randn(16, 2, 1, 1, generator=generator), 0.2)
    return Adapter(layers | {"unet.down_blocks.0.downsamplers.0.conv": conv}, Base.unknown)


def answers(pipeline: Any) -> list[torch.Tensor]:
    """The UNet's, the text encoder's and the decoder's."""
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1)).to(pipeline.vae.dtype)
    with torch.no_grad():
        images = pipeline.vae.decode(latents).sample
        text = pipeline.encode_prompt("a cat", "cpu", 1, False)[0]
    return [answer(pipeline.unet).float(), text.float(), images.float()]


def close(one: list[torch.Tensor], other: list[torch.Tensor], tolerance: float = 1e-5) -> list[bool]:
    return [torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in zip(one, other, strict=True)]


@pytest.fixture(scope="module")
def plain(tiny_sd: Path) -> list[torch.Tensor]:
    return answers(StableDiffusionPipeline.from_pretrained(tiny_sd))


@pytest.fixture(scope="module")
def adapted(tiny_sd: Path, adapter: Adapter) -> Callable[[float], list[torch.Tensor]]:
    """What peft makes of the layers at some strength, written here by hand into the pipeline's weights."""

    def at(scale: float) -> list[torch.Tensor]:
        pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
        for name, layer in adapter.layers.items():
            part, module = name.split(".", 1)
            root = getattr(pipeline, part)
            known = dict(root.named_modules())
            weight = known.get(module, known.get(module.removeprefix("text_model."))).weight
            factor = scale * layer.alpha / layer.down.shape[0]
            with torch.no_grad():
                if weight.ndim == 4:
                    weight += factor * torch.einsum("or,rikl->oikl", layer.up[:, :, 0, 0], layer.down)
                else:
                    weight += factor * layer.up @ layer.down
        return answers(pipeline)

    return at


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_stock_pipeline_loads_the_merged_directory(
    tiny_sd: Path, tmp_path: Path, adapter: Adapter, adapted: Any, plain: Any, scale: float
) -> None:
    seen: list[int] = []
    merged = fuse_to_directory(
        Recipe(adapter, scale), tiny_sd, None, tmp_path / "merged", lambda total: lambda: seen.append(total)
    )
    found = answers(StableDiffusionPipeline.from_pretrained(merged))
    assert close(found, adapted(scale)) == [True, True, True]
    assert close(found, plain, 1e-3) == [False, False, True]
    assert len(seen) == seen[0]  # as many weights as were promised
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_merged_pipeline_is_the_one_with_the_adapter_loaded(tiny_sd: Path, tmp_path: Path, adapted: Any) -> None:
    file = kohya_with_text(tmp_path / "x.safetensors")
    merged = fuse_to_directory(Recipe(read_adapter(file)), tiny_sd, None, tmp_path / "merged")
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    assert close(answers(StableDiffusionPipeline.from_pretrained(merged)), answers(pipeline)) == [True, True, True]


def test_nothing_but_the_adapted_weights_changes_bit_for_bit(tiny_sd: Path, tmp_path: Path, adapter: Adapter) -> None:
    merged = fuse_to_directory(Recipe(adapter), tiny_sd, None, tmp_path / "merged")
    changed = []
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        before, after = (load_file(root / part / f"{name}.safetensors") for root in (tiny_sd, merged))
        assert before.keys() == after.keys()
        changed += [key for key in before if not torch.equal(before[key], after[key])]
    assert len(changed) == len(adapter.layers)


def test_half_precision_is_asked_for_by_the_configuration_too(tiny_sd: Path, tmp_path: Path, adapter: Adapter) -> None:
    merged = fuse_to_directory(Recipe(adapter, dtype=torch.float16), tiny_sd, None, tmp_path / "merged")
    pipeline = StableDiffusionPipeline.from_pretrained(merged).to(torch.float16)
    weights = load_file(merged / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert json.loads((merged / "text_encoder" / "config.json").read_text())["dtype"] == "float16"
    assert torch.isfinite(answers(pipeline)[0]).all()


def test_the_single_file_is_loaded_by_diffusers_own_loader(
    tiny_sd: Path, tmp_path: Path, adapter: Adapter, adapted: Any
) -> None:
    file = fuse_to_file(Recipe(adapter, 0.7), tiny_sd, None, tmp_path / "merged.safetensors")
    pipeline = StableDiffusionPipeline.from_single_file(str(file), config=str(tiny_sd), local_files_only=True)
    assert close(answers(pipeline), adapted(0.7)) == [True, True, True]


def test_the_single_file_has_the_names_of_a_checkpoint_made_another_way(tiny_sd: Path, tmp_path: Path) -> None:
    other = load_file(write_single_file(tiny_sd, tmp_path / "other.safetensors"))
    ours = load_file(fuse_to_file(Recipe(Adapter({}, Base.unknown)), tiny_sd, None, tmp_path / "ours.safetensors"))
    assert ours.keys() == other.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in other.items())


def test_a_single_file_is_merged_into_another(tiny_sd: Path, tmp_path: Path, adapter: Adapter) -> None:
    base = OneFile.of(tiny_sd, write_single_file(tiny_sd, tmp_path / "base.safetensors"))
    one = load_file(fuse_to_file(Recipe(adapter), base, None, tmp_path / "one.safetensors"))
    other = load_file(fuse_to_file(Recipe(adapter), tiny_sd, None, tmp_path / "other.safetensors"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())
    with pytest.raises(ConfigError, match=r"set output=….safetensors"):
        fuse_to_directory(Recipe(adapter), base, None, tmp_path / "directory")


def test_parts_that_are_not_there_are_taken_out_of_the_index(tiny_sd: Path, tmp_path: Path, adapter: Adapter) -> None:
    base = Path(shutil.copytree(tiny_sd, tmp_path / "base"))
    index = json.loads((base / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    (base / "model_index.json").write_text(json.dumps(index))
    merged = fuse_to_directory(Recipe(adapter), base, None, tmp_path / "merged")
    assert StableDiffusionPipeline.from_pretrained(merged).safety_checker is None


def test_an_adapter_of_another_model_is_refused_and_leaves_nothing(tiny_sd: Path, tmp_path: Path) -> None:
    wide = Layer(torch.ones(2, 320), torch.ones(320, 2), 2.0)
    names = ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "unet.conv_nowhere")
    for name in names:
        recipe = Recipe(Adapter({name: wide}, Base.sd1))
        for fuse, output in ((fuse_to_directory, "merged"), (fuse_to_file, "merged.safetensors")):
            with pytest.raises(ConfigError, match=f"another base model than .*: {name} do not fit"):
                fuse(recipe, tiny_sd, None, tmp_path / output)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_half_precision_cannot_hold_are_refused(tiny_sd: Path, tmp_path: Path, adapter: Adapter) -> None:
    for fuse, output in ((fuse_to_directory, "merged"), (fuse_to_file, "merged.safetensors")):
        with pytest.raises(ConfigError, match="float16 cannot hold the numbers"):
            fuse(Recipe(adapter, 1e6, torch.float16), tiny_sd, None, tmp_path / output)
    assert list(tmp_path.iterdir()) == []


def test_the_two_text_encoders_of_an_xl_have_the_names_that_diffusers_expects(
    tiny_sd: Path, tmp_path: Path, adapter: Adapter
) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    base = Path(shutil.copytree(tiny_sd, tmp_path / "base"))
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=4, projection_dim=16, bos_token_id=10, eos_token_id=11,
        )
    )  # fmt: skip
    second.save_pretrained(base / "text_encoder_2")
    query = "text_model.encoder.layers.0.self_attn.q_proj"
    layers = adapter.layers | {f"text_encoder_2.{query}": adapter.layers[f"text_encoder.{query}"]}
    file = fuse_to_file(Recipe(Adapter(layers, Base.sdxl)), base, None, tmp_path / "xl.safetensors")
    merged = load_file(file)
    wanted = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    layer = layers[f"text_encoder_2.{query}"]
    wanted[f"{query}.weight"] += layer.scale * layer.up @ layer.down
    found = convert_open_clip_checkpoint(second, merged, prefix="conditioner.embedders.1.model.")
    assert all(torch.allclose(found[name], tensor, atol=1e-6) for name, tensor in wanted.items())
    assert set(found) == set(wanted)
    first = load_file(base / "text_encoder" / "model.safetensors")
    assert len(convert_ldm_clip_checkpoint(merged)) == len(first)
