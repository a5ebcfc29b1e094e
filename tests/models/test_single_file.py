from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emote.config import ModelConfig
from emote.lora.adapter_file import Adapter
from emote.lora.base_family import Base
from emote.lora.fuse import Recipe, fuse_to_file
from emote.models import components
from emote.models.single_file import PUBLISHED
from emote.util.errors import ConfigError
from tests.models.single_files import write_single_file

LOADERS = {"unet": components.load_unet, "vae": components.load_vae, "text_encoder": components.load_text_encoder}


def model_config(path: Path, config: Path | None) -> ModelConfig:
    return ModelConfig(str(path), None, None, 32, 4, str(config) if config else None)


@pytest.fixture(scope="module")
def single_file(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_single_file(tiny_sd, tmp_path_factory.mktemp("single") / "tiny.safetensors")


def changed(single_file: Path, to: Path, change: Any) -> Path:
    tensors = load_file(single_file)
    change(tensors)
    save_file(tensors, to)
    return to


def refused(path: Path, config: Path | None) -> str:
    with pytest.raises(ConfigError) as caught:
        components.locate(model_config(path, config))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


@pytest.mark.parametrize("part", LOADERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_single_file_holds_what_the_directory_holds(
    tiny_sd: Path, single_file: Path, part: str, dtype: torch.dtype
) -> None:
    base = components.locate(model_config(single_file, tiny_sd))
    ours, theirs = LOADERS[part](base, dtype), LOADERS[part](tiny_sd, dtype)
    assert not ours.training and not any(p.requires_grad for p in ours.parameters())
    state = theirs.state_dict()
    assert {name: t.dtype for name, t in ours.state_dict().items()} == {name: t.dtype for name, t in state.items()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    assert json.loads(ours.config.to_json_string() if part == "text_encoder" else ours.to_json_string())


def test_a_single_file_of_xl_holds_what_the_directory_holds(tiny_sdxl: Path, tmp_path: Path) -> None:
    as_it_is = Recipe(Adapter({}, Base.sdxl))
    file = fuse_to_file(as_it_is, tiny_sdxl, None, tmp_path / "xl.safetensors")
    base = components.locate(model_config(file, tiny_sdxl))
    for load in (*LOADERS.values(), partial(components.load_text_encoder, part="text_encoder_2")):
        ours, theirs = load(base).state_dict(), load(tiny_sdxl).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    prints = {components.fingerprint(base, part) for part in LOADERS}
    assert len(prints) == 3


def test_tokenizer_schedule_and_configuration_come_from_the_directory(tiny_sd: Path, single_file: Path) -> None:
    base = components.locate(model_config(single_file, tiny_sd))
    assert components.load_tokenizer(base).model_max_length == 32
    assert components.load_scheduler(base).config["beta_schedule"] == "scaled_linear"
    assert (base / "unet" / "config.json").is_file()


def test_a_file_is_looked_at_and_a_directory_is_not_needed_beside_it(single_file: Path, tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "missing.safetensors", None)
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "can run code" in refused(tmp_path / "model.ckpt", None)
    assert f"model.path={single_file}" in refused(single_file.parent, None)
    # the tiny one has other shapes than SD 1.5, whose configuration is taken where none is named
    assert "tiny.safetensors reads text of width 16, and the configuration in" in refused(single_file, None)


def test_the_configuration_may_be_another_directory_or_a_hub_name(
    tiny_sd: Path, single_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emote.models import locate

    with pytest.raises(ConfigError, match=r"model\.config=some/where/else is neither a directory here nor a Hub name"):
        components.locate(model_config(single_file, Path("some/where/else")))
    with pytest.raises(ConfigError, match=r"model\.config=someone/model is not on this machine"):
        components.locate(model_config(single_file, Path("someone/model")))
    asked: list[list[str]] = []

    def snapshot(model: ModelConfig, weights: list[str], *, cached: bool) -> Path:
        asked.append(weights)
        return tiny_sd

    monkeypatch.setattr(locate, "_snapshot", snapshot)
    base = components.locate(model_config(single_file, Path("someone/model")))
    assert asked == [[]]  # no weights
    assert components.load_unet(base).config["sample_size"] == 8


def test_other_kinds_of_files_are_named(tiny_sd: Path, single_file: Path, tmp_path: Path) -> None:
    def widened(tensors: dict[str, torch.Tensor]) -> None:
        name = "model.diffusion_model.input_blocks.0.0.weight"
        tensors[name] = torch.zeros(16, 9, 3, 3)

    def of_version_2(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"] = torch.zeros(1, 1024)

    def of_xl(tensors: dict[str, torch.Tensor]) -> None:
        tensors["conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"] = torch.zeros(1)

    def without_vae(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("first_stage_model.")]:
            del tensors[name]

    file = tmp_path / "changed.safetensors"
    assert "inpainting" in refused(changed(single_file, file, widened), None)
    assert "model.config=" in refused(changed(single_file, file, of_version_2), None)
    assert "model.config=stabilityai/stable-diffusion-xl" in refused(changed(single_file, file, of_xl), None)
    assert "lacks vae" in refused(changed(single_file, file, without_vae), None)
    save_file({"lora_unet_a.lora_down.weight": torch.zeros(1)}, file)
    assert "lora.init_from=" in refused(file, None)
    save_file({"weight": torch.zeros(1)}, file)
    assert "not a Stable Diffusion checkpoint" in refused(file, tiny_sd)


def test_weights_that_are_missing_are_named(tiny_sd: Path, single_file: Path, tmp_path: Path) -> None:
    file = changed(single_file, tmp_path / "less.safetensors", lambda t: t.pop("model.diffusion_model.out.2.bias"))
    with pytest.raises(ConfigError, match=r"less\.safetensors/unet"):
        components.load_unet(components.locate(model_config(file, tiny_sd)))


def test_a_fingerprint_is_of_one_part_of_the_file_wherever_it_lies(
    tiny_sd: Path, single_file: Path, tmp_path: Path
) -> None:
    def prints(file: Path, **keywords: Any) -> list[str]:
        base = components.locate(model_config(file, tiny_sd))
        return [components.fingerprint(base, part, **keywords) for part in LOADERS]

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["first_stage_model.decoder.conv_out.bias"][0] += 1

    before = prints(single_file)
    assert len(set(before)) == 3
    assert prints(Path(shutil.copy(single_file, tmp_path / "copy.safetensors"))) == before
    after = prints(changed(single_file, tmp_path / "nudged.safetensors", nudge))
    assert [same for same, other in zip(before, after, strict=True) if same != other] == [before[1]]


def test_hashes_of_large_files_are_remembered_by_part(
    tiny_sd: Path, single_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emote.models import weights

    base = components.locate(model_config(single_file, tiny_sd))
    expected = [components.fingerprint(base, part) for part in LOADERS]
    monkeypatch.setattr(weights, "REMEMBERED_FROM_BYTES", 1)
    assert [components.fingerprint(base, part, cache_dir=tmp_path) for part in LOADERS] == expected
    monkeypatch.setattr(weights, "hash_part", lambda file, part: pytest.fail("hashed again"))
    assert [components.fingerprint(base, part, cache_dir=tmp_path) for part in LOADERS] == expected


def test_the_published_tokenizer_is_clips() -> None:
    tokenizer = components.load_tokenizer(PUBLISHED / "sd15")
    ids = tokenizer(["a photo of a Cat"]).input_ids[0]
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]  # as CLIP's own tokenizer has them
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)
