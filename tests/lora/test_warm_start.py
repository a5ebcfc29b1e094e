from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emote.config import AdapterDtype
from emote.lora.adapter import adapter_state, attach, trainable
from emote.lora.formats import save_diffusers, save_kohya
from emote.lora.warm_start import warm_start, warm_start_key
from emote.util.errors import ConfigError
from tests.models.helpers import fresh_unet, learn, lora_config


def attached(tiny_sd: Path, **changes: Any) -> Any:
    unet = fresh_unet(tiny_sd)
    attach(unet, lora_config(**changes))
    return unet


@pytest.fixture
def learned(tiny_sd: Path, tmp_path: Path) -> tuple[dict[str, torch.Tensor], Path, Path]:
    """An adapter of rank 4 on the attention: its state, diffusers' file and kohya's."""
    unet = attached(tiny_sd)
    learn(unet)
    directory = save_diffusers(unet, tmp_path / "learned", lora_config()).parent
    return adapter_state(unet), directory, save_kohya(unet, tmp_path / "learned.safetensors", lora_config(), {})


def refused(unet: Any, **changes: Any) -> str:
    before = adapter_state(unet)
    with pytest.raises(ConfigError) as caught:
        warm_start(unet, lora_config(**changes))
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter_state(unet).items())
    return str(caught.value)


@pytest.mark.parametrize("which", [1, 2])
def test_training_starts_from_either_file(tiny_sd: Path, learned: tuple[Any, Path, Path], which: int) -> None:
    unet = attached(tiny_sd)
    warm_start(unet, lora_config(init_from=str(learned[which])))
    assert all(torch.equal(tensor, learned[0][name]) for name, tensor in adapter_state(unet).items())
    assert all(parameter.requires_grad for parameter in trainable(unet).values())


def test_a_published_bf16_file_starts_a_float32_adapter_with_its_numbers(
    tiny_sd: Path, learned: tuple[Any, Path, Path], tmp_path: Path
) -> None:
    tensors = {name: t.bfloat16() for name, t in load_file(learned[1] / "pytorch_lora_weights.safetensors").items()}
    assert all(name.startswith("unet.") and ".lora_" in name for name in tensors)
    save_file(tensors, tmp_path / "published.safetensors")  # without alpha in the header, as it was published
    unet = attached(tiny_sd)
    warm_start(unet, lora_config(init_from=str(tmp_path / "published.safetensors")))
    state = adapter_state(unet)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert all(torch.equal(tensor, learned[0][name].bfloat16().float()) for name, tensor in state.items())


def test_the_adapter_keeps_its_own_dtype(tiny_sd: Path, learned: tuple[Any, Path, Path]) -> None:
    unet = attached(tiny_sd, dtype=AdapterDtype.bfloat16)
    warm_start(unet, lora_config(init_from=str(learned[2]), dtype=AdapterDtype.bfloat16))
    assert {tensor.dtype for tensor in adapter_state(unet).values()} == {torch.bfloat16}


def test_everything_that_differs_is_said_at_once_with_what_to_say(
    tiny_sd: Path, learned: tuple[Any, Path, Path]
) -> None:
    changes = {"rank": 8, "alpha": 16.0, "targets": "attention_ff"}
    lines = refused(attached(tiny_sd, **changes), **changes, init_from=str(learned[2])).splitlines()
    assert len(lines) == 3
    assert "has rank 4, lora.rank is 8; set lora.rank=4" in lines[0]
    assert "has alpha 4, lora.alpha is 16; set lora.alpha=4" in lines[1]
    assert "adapts 32 modules" in lines[2] and "set lora.targets=attention" in lines[2]


def test_an_alpha_that_follows_the_rank_is_no_second_mistake(tiny_sd: Path, learned: tuple[Any, Path, Path]) -> None:
    said = refused(attached(tiny_sd, rank=8, alpha=8.0), rank=8, alpha=8.0, init_from=str(learned[2]))
    assert len(said.splitlines()) == 1 and "lora.rank=4" in said


def test_part_of_the_modules_is_not_enough(tiny_sd: Path, learned: tuple[Any, Path, Path], tmp_path: Path) -> None:
    tensors = load_file(learned[2])
    less = {name: tensor for name, tensor in tensors.items() if "mid_block" not in name}
    save_file(less, tmp_path / "less.safetensors")
    assert "mid_block" in refused(attached(tiny_sd), init_from=str(tmp_path / "less.safetensors"))


def test_an_adapter_of_another_model_is_refused(tiny_sd: Path, learned: tuple[Any, Path, Path], tmp_path: Path) -> None:
    tensors = load_file(learned[2])
    name = next(name for name in tensors if name.endswith("attn1_to_q.lora_down.weight"))
    tensors[name] = torch.zeros(4, 99)
    save_file(tensors, tmp_path / "other.safetensors")
    assert "another base model" in refused(attached(tiny_sd), init_from=str(tmp_path / "other.safetensors"))


def test_kohya_s_own_targets_are_named_to_be_set(tiny_sd: Path, tmp_path: Path) -> None:
    """Its scripts adapt every Linear and Conv2d of the transformers: none of the presets."""
    kohyas = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
    file = save_kohya(attached(tiny_sd, targets=kohyas), tmp_path / "x.safetensors", lora_config(), {})
    said = refused(attached(tiny_sd), init_from=str(file))
    listed = said.split("set lora.targets=[")[1].split("]")[0].split(",")
    unet = attached(tiny_sd, targets=listed)
    warm_start(unet, lora_config(targets=listed, init_from=str(file)))
    some = {n: t for n, t in load_file(file).items() if "down_blocks_0_attentions_0_transformer" in n and "attn1" in n}
    save_file(some, tmp_path / "some.safetensors")
    said = refused(attached(tiny_sd), init_from=str(tmp_path / "some.safetensors"))
    listed = said.split("set lora.targets=[")[1].split("]")[0].split(",")
    warm_start(
        attached(tiny_sd, targets=listed), lora_config(targets=listed, init_from=str(tmp_path / "some.safetensors"))
    )


def test_a_file_that_is_not_there_is_named(tiny_sd: Path, tmp_path: Path) -> None:
    assert "where none is" in refused(attached(tiny_sd), init_from=str(tmp_path / "missing.safetensors"))


def test_the_key_is_of_the_content_wherever_it_lies(learned: tuple[Any, Path, Path], tmp_path: Path) -> None:
    assert warm_start_key(lora_config()) == {}
    one = warm_start_key(lora_config(init_from=str(learned[2])))
    moved = learned[2].rename(tmp_path / "moved.safetensors")
    assert warm_start_key(lora_config(init_from=str(moved))) == one
    moved.write_bytes(moved.read_bytes()[:-1] + b"!")
    assert warm_start_key(lora_config(init_from=str(moved))) != one
