from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import peft
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
    assert (file.format, file.base, file.problem, file.embeddings) == (Format.diffusers, Base.sd1, None, [])
    assert (file.parts(), dict(file.ranks())) == ({"unet": 128}, {4: 128})
    assert dict(file.dtypes()) == {torch.bfloat16: 256}
    assert {layer.alpha for layer in file.load().layers.values()} == {4.0}  # none is stored: diffusers takes the rank


def test_a_kohya_file_with_a_text_encoder_is_told(tmp_path: Path) -> None:
    path = kohya_with_text(tmp_path / "x.safetensors")
    file = open_adapter(path)
    assert (file.format, file.problem, file.embeddings) == (Format.kohya, None, [])
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
        (f"base_model.model.{QUERY}.lora_?.weight", f"unet.{QUERY}"),
        (f"unet.base_model.model.{QUERY}.lora_?.default.weight", f"unet.{QUERY}"),
        (f"base_model.model.{TEXT}.mlp.fc1.lora_?.weight", f"text_encoder.{TEXT}.mlp.fc1"),
        (f"lycoris_{OUT.replace('.', '_')}.lora_*.weight", f"unet.{OUT}"),
        (f"lycoris_{TEXT.replace('.', '_')}_mlp_fc1.lora_*.weight", f"text_encoder.{TEXT}.mlp.fc1"),
        ("diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_out.0.lora_*.weight", f"unet.{OUT}"),
        ("diffusion_model.output_blocks.2.1.conv.lora_?.weight", "unet.up_blocks.0.upsamplers.0.conv"),
        ("input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_?.weight", f"unet.{QUERY}"),
        ("diffusion_model.time_embed.0.lora_?.weight", "unet.time_embedding.linear_1"),
        (f"text_encoders.clip_l.transformer.{TEXT}.mlp.fc1.lora_?.weight", f"text_encoder.{TEXT}.mlp.fc1"),
        (f"text_encoders.clip_g.transformer.{TEXT}.mlp.fc1.lora_*.weight", f"text_encoder_2.{TEXT}.mlp.fc1"),
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


def test_embeddings_of_words_are_said_not_to_be_used_and_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight")
    file = open_adapter(save(tmp_path / "x", {QUERY: names}, **{"bundle_emb.cat.clip_l": torch.zeros(2, 2)}))
    assert file.embeddings == ["cat"] and len(file.load().layers) == 1
    assert "has embeddings of words (cat), which are not used" in caplog.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"unet.{QUERY}.lora_B.bias", "trained biases"),
        ("lora_unet_x.lora_up.bias", "trained biases"),
        (f"{QUERY}.magnitude", "magnitudes of a DoRA"),
        ("lora_unet_mid_block_attentions_0_norm.w_norm", "LyCORIS file (trained norms)"),
        ("lora_unet_mid_block_attentions_0_proj_in.diff_b", "LyCORIS file (full differences)"),
        ("text_model.embeddings.token_embedding.lora_embedding_A", "tokens' embeddings"),
        ("base_model.model.conv_in.modules_to_save.weight", "whole modules beside the LoRA"),
        ("lora_te3_block.lora_down.weight", "layers that no Stable Diffusion has"),
        ("something.new", "1 tensors beside its LoRA that are not understood, such as something.new"),
        ("\x1b[2J" + "long " * 100, "such as [2Jlong long"),
    ],
)
def test_whatever_changes_a_layer_and_is_not_understood_is_refused(tmp_path: Path, name: str, words: str) -> None:
    names = (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight")
    path = save(tmp_path / "x", {QUERY: names}, **{name: torch.zeros(2)})
    with pytest.raises(ConfigError) as caught:
        read_adapter(path)
    assert words in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"unet.bias": "all"}, "biases"), ({"lora_bias": True}, "biases"),
        ({"modules_to_save": ["conv_in"]}, "whole modules"), ({"unet.use_dora": True}, "holds no magnitudes"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base model's weights"), ({"peft_type": "LOHA"}, "LOHA"),
        ({"unet.r": 8}, "rank 8 of"), ({"r": True}, "no number"), ({"lora_alpha": "x"}, "no number"),
        ({"lora_alpha": float("inf")}, "no number"), ({"alpha_pattern": [1]}, "no table"),
        ({"alpha_pattern": {"(": 1}}, "pattern that is none"), ({"alpha_pattern": {"to_q": None}}, "no number"),
        ({"unet.target_modules": [QUERY, OUT]}, f"not whole: unet.{OUT}"),
    ],
)  # fmt: skip
def test_settings_that_are_not_of_a_plain_lora_or_not_true_are_refused(
    tmp_path: Path, told: dict[str, Any], words: str
) -> None:
    layers = {QUERY: (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight")}
    path = save(tmp_path / "x", layers, {"lora_adapter_metadata": json.dumps(told)})
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_adapter(path)
    assert open_adapter(path).problem


def test_what_peft_writes_of_a_plain_lora_is_taken(tmp_path: Path) -> None:
    layers = {QUERY: (f"{QUERY}.lora_A.weight", f"{QUERY}.lora_B.weight")}
    told = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["to_q", "add_k_proj"], lora_dropout=0.1).to_dict()
    told |= {"target_modules": sorted(told["target_modules"]), "new_key_of_tomorrow": 1}
    path = save(tmp_path / "x", layers, {"lora_adapter_metadata": json.dumps(told, default=str)})
    assert read_adapter(path).layers[f"unet.{QUERY}"].alpha == 8  # as `unet.save_lora_adapter` has it: bare


def test_a_layer_under_two_names_is_refused(tmp_path: Path) -> None:
    layers = {
        "one": (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"),
        "two": (f"{QUERY}.lora.down.weight", f"{QUERY}.lora.up.weight"),
    }
    with pytest.raises(ConfigError, match="twice, under two names"):
        read_adapter(save(tmp_path / "x", layers))


def test_part_of_the_alphas_or_magnitudes_is_not_enough(tmp_path: Path) -> None:
    layers = {name: (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight") for name in (QUERY, OUT)}
    for role, number in (("alpha", torch.tensor(1.0)), ("lora_magnitude_vector", torch.ones(5))):
        path = save(tmp_path / role, layers, **{f"unet.{QUERY}.{role}": number})
        with pytest.raises(ConfigError, match=r"1 of 2 layers have no (alpha|magnitude), such as unet.mid_block"):
            read_adapter(path)


def test_a_file_that_is_not_whole_or_broken_is_refused(tmp_path: Path) -> None:
    down, up = f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"
    for number, (tensors, words) in enumerate(
        [
            ({down: torch.ones(2, 3)}, f"not whole: unet.{QUERY} has down alone"),
            ({down: torch.ones(2, 3), up: torch.ones(5, 4)}, "cannot be multiplied"),
            ({down: torch.ones(2, 3, 3, 3), up: torch.ones(5, 2)}, "cannot be multiplied"),
            ({down: torch.ones(2, 3), up: torch.full((5, 2), torch.nan)}, "1 layers hold NaN"),
            ({down: torch.ones(2, 3), up: torch.ones(5, 2, dtype=torch.int8)}, "whole numbers"),
            ({down: torch.ones(2, 3), up: torch.ones(5, 2), f"{QUERY}.alpha": torch.ones(2)}, "no single number"),
            ({down: torch.ones(2, 3), up: torch.ones(5, 2), f"{QUERY}.alpha": torch.tensor(torch.inf)}, "NaN or inf"),
            (
                {down: torch.ones(2, 3), up: torch.ones(5, 2), f"{QUERY}.lora_magnitude_vector": torch.ones(2)},
                "magnitudes",
            ),
        ]
    ):
        save_file(tensors, tmp_path / str(number))
        with pytest.raises(ConfigError, match=words):
            read_adapter(tmp_path / str(number))
    with pytest.raises(ConfigError, match="not JSON"):
        read_adapter(save(tmp_path / "x", {QUERY: (down, up)}, {"lora_adapter_metadata": "{"}))
    for number, text in enumerate(("[]", "[" * 100_000)):
        with pytest.raises(ConfigError, match=r"no table of settings|not JSON"):
            read_adapter(save(tmp_path / f"y{number}", {QUERY: (down, up)}, {"lora_adapter_metadata": text}))
