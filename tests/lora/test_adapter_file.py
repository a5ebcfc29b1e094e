from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emote.lora.adapter_file import Format, open_adapter, read_adapter
from emote.lora.base_family import Base, base_of_layers, base_of_unet
from emote.lora.layer_names import layer_name
from emote.util.errors import ConfigError
from tests.lora.adapter_files import adapted, dora, kohya_with_text, lycoris, published, sdxl_unet, some_tensors
from tests.models.helpers import sd15_unet

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"


def save(path: Path, layers: dict[str, tuple[str, str]], metadata: dict[str, str] | None = None, **more: Any) -> Path:
    """A file with a pair of matrices of rank 2 for each layer, under the two names."""
    tensors = {down: torch.ones(2, 3) for down, _ in layers.values()}
    tensors |= {up: torch.ones(5, 2) for _, up in layers.values()}
    save_file(tensors | more, path, metadata)
    return path


def test_a_published_file_is_told(tmp_path: Path) -> None:
    file = open_adapter(published(tmp_path / "x.safetensors"))
    assert (file.format, file.base, file.problem, file.unmapped) == (Format.diffusers, Base.sd1, None, [])
    assert (file.parts(), dict(file.ranks())) == ({"unet": 128}, {4: 128})
    assert dict(file.dtypes()) == {torch.bfloat16: 256}
    assert {layer.alpha for layer in file.load().layers.values()} == {4.0}  # none is stored: diffusers takes the rank


def test_a_kohya_file_with_a_text_encoder_is_told(tmp_path: Path) -> None:
    path = kohya_with_text(tmp_path / "x.safetensors")
    file = open_adapter(path)
    assert (file.format, file.problem, file.unmapped) == (Format.kohya, None, [])
    assert file.parts() == {"unet": 2, "text_encoder": 3}
    layers = file.load().layers
    assert {(layer.rank, layer.alpha) for layer in layers.values()} == {(4, 2.0), (2, 2.0), (4, 1.0)}
    up = load_file(path)["lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"]
    assert torch.equal(layers["text_encoder.text_model.encoder.layers.0.self_attn.q_proj"].up, up)


TEXT = "text_model.encoder.layers.1"


@pytest.mark.parametrize(
    ("named", "layer"),
    [
        (f"unet.{QUERY}.lora_?.weight", f"unet.{QUERY}"),
        (f"unet.{QUERY}.lora.*.weight", f"unet.{QUERY}"),
        (f"{QUERY}.lora.*.weight", f"unet.{QUERY}"),
        (f"{OUT.replace('to_out.0', 'processor.to_out_lora')}.*.weight", f"unet.{OUT}"),
        (f"text_encoder.{TEXT}.self_attn.to_out_lora.*.weight", f"text_encoder.{TEXT}.self_attn.out_proj"),
        (f"text_encoder.{TEXT}.mlp.fc1.lora_linear_layer.*.weight", f"text_encoder.{TEXT}.mlp.fc1"),
        ("text_encoder_2.encoder.layers.1.mlp.fc2.lora_?.weight", f"text_encoder_2.{TEXT}.mlp.fc2"),
        ("lora_unet_output_blocks_2_2_conv.lora_*.weight", "unet.up_blocks.0.upsamplers.0.conv"),
        ("lora_te_text_model_encoder_layers_1_mlp_fc2.lora_*.weight", f"text_encoder.{TEXT}.mlp.fc2"),
        (
            "lora_te2_text_model_encoder_layers_1_self_attn_k_proj.lora_*.weight",
            f"text_encoder_2.{TEXT}.self_attn.k_proj",
        ),
    ],
)
def test_layers_have_one_name_whoever_wrote_the_file(tmp_path: Path, named: str, layer: str) -> None:
    down, up = (named.replace("?", side).replace("*", way) for side, way in (("A", "down"), ("B", "up")))
    adapter = read_adapter(save(tmp_path / "x.safetensors", {layer: (down, up)}))
    assert list(adapter.layers) == [layer]
    assert adapter.layers[layer].down.shape == (2, 3) and adapter.layers[layer].alpha == 2.0


@pytest.mark.parametrize(
    "name",
    ["unet.down_blocks.0.nonsense", "lora_unet_double_blocks_0_img_attn_qkv", "transformer.blocks.0.to_q",
     "lora_te3_encoder_block_0_layer_0_SelfAttention_q", "lora_unet_output_blocks_0_9", "bundle_emb.x", ""],
)  # fmt: skip
def test_other_names_are_of_no_layer(name: str) -> None:
    assert layer_name(name) is None


def test_alpha_is_what_the_header_says_for_each_layer(tmp_path: Path) -> None:
    layers = {name: (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight") for name in (QUERY, OUT)}
    told = {"unet.r": 2, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn2.to_out.0": 1.5}}
    adapter = read_adapter(save(tmp_path / "1", layers, {"lora_adapter_metadata": json.dumps(told)}))
    assert [adapter.layers[f"unet.{name}"].alpha for name in (QUERY, OUT)] == [8.0, 1.5]
    told["unet.use_rslora"] = True  # peft then divides by the root of the rank
    adapter = read_adapter(save(tmp_path / "2", layers, {"lora_adapter_metadata": json.dumps(told)}))
    assert adapter.layers[f"unet.{QUERY}"].scale == pytest.approx(8 / 2**0.5)


def test_the_base_is_told_by_shapes(tmp_path: Path) -> None:
    for unet, base in ((sd15_unet(), Base.sd1), (sdxl_unet(), Base.sdxl)):
        shapes = {f"unet.{name}": (4, *shape[1:]) for name, shape in adapted(unet).items()}
        assert base_of_layers(shapes) is base_of_unet(unet.config) is base
    narrow = {name: (4, 8) if "attn1" in name else shape for name, shape in shapes.items()}
    assert base_of_layers(narrow) is Base.unknown
    text = "text_model.encoder.layers.0.self_attn.q_proj"
    assert base_of_layers({f"text_encoder.{text}": (4, 768)}) is Base.sd1
    assert base_of_layers({f"text_encoder.{text}": (4, 1024)}) is Base.sd2
    assert base_of_layers({f"text_encoder_2.{text}": (4, 1280), f"text_encoder.{text}": (4, 768)}) is Base.sdxl
    assert base_of_layers({"unet.conv_in": (4, 4, 3, 3)}) is Base.unknown


def test_the_miniature_is_known_by_its_shapes() -> None:
    config = json.loads((Path(__file__).parents[2] / "weights" / "mini" / "unet" / "config.json").read_text())
    assert base_of_unet(config) is Base.miniature


@pytest.mark.parametrize(
    ("write", "kind", "words"),
    [
        (lycoris, Format.lycoris, r"LyCORIS file \(LoHa\), which is not supported"),
        (dora, Format.dora, "DoRA"),
        (some_tensors, Format.unknown, "no adapter; it holds bias, weight"),
    ],
)
def test_what_is_no_plain_lora_is_named(tmp_path: Path, write: Any, kind: Format, words: str) -> None:
    path = write(tmp_path / "x.safetensors")
    assert open_adapter(path).format is kind
    with pytest.raises(ConfigError, match=words):
        read_adapter(path)


def test_a_whole_model_is_told_from_an_adapter(tiny_sd: Path, tmp_path: Path) -> None:
    for path in (*sorted(tiny_sd.glob("*/*.safetensors")), tmp_path / "original.safetensors"):
        if not path.exists():
            save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, path)
        assert open_adapter(path).format is Format.checkpoint, path
        with pytest.raises(ConfigError, match="whole model"):
            read_adapter(path)


def test_a_lora_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    path = save(tmp_path / "x", {"": (f"{name}.lora_down.weight", f"{name}.lora_up.weight")})
    with pytest.raises(ConfigError, match="LoRA of no Stable Diffusion"):
        read_adapter(path)


def test_tensors_of_no_layer_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    names = (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight")
    file = open_adapter(save(tmp_path / "x", {QUERY: names}, **{"bundle_emb.cat.clip_l": torch.zeros(2, 2)}))
    assert file.unmapped == ["bundle_emb.cat.clip_l"] and len(file.load().layers) == 1


def test_a_file_that_is_not_whole_or_broken_is_refused(tmp_path: Path) -> None:
    down, up = f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"
    for number, (tensors, words) in enumerate(
        [
            ({down: torch.ones(2, 3)}, f"not whole: unet.{QUERY} has down alone"),
            ({down: torch.ones(2, 3), up: torch.ones(5, 4)}, "cannot be multiplied"),
            ({down: torch.ones(2, 3, 3, 3), up: torch.ones(5, 2)}, "cannot be multiplied"),
            ({down: torch.ones(2, 3), up: torch.full((5, 2), torch.nan)}, "1 layers hold NaN"),
        ]
    ):
        save_file(tensors, tmp_path / str(number))
        with pytest.raises(ConfigError, match=words):
            read_adapter(tmp_path / str(number))
    with pytest.raises(ConfigError, match="not JSON"):
        read_adapter(save(tmp_path / "x", {QUERY: (down, up)}, {"lora_adapter_metadata": "{"}))
