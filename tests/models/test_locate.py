from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from emote.config import ModelConfig
from emote.models.locate import locate
from emote.util.errors import ConfigError


def model_config(path: str | Path, **changes: Any) -> ModelConfig:
    values: dict[str, Any] = {"revision": None, "variant": None, "resolution": 32, "resolution_multiple": 4}
    return ModelConfig(path=str(path), **(values | changes))


def refused(path: str | Path, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        locate(model_config(path, **changes))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def model(tiny_sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, tmp_path / "some" / "model"))


def test_a_relative_path_is_looked_up_here_and_then_in_the_project(
    tiny_sd: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert locate(model_config(tiny_sd)) == tiny_sd.resolve()
    monkeypatch.chdir(tmp_path)
    assert locate(model_config("some/model")) == model.resolve()
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    monkeypatch.setattr("emote.util.places.ROOT", tmp_path)
    assert locate(model_config("some/model")) == model.resolve()


@pytest.mark.parametrize("offline", [True, False])
def test_a_model_of_the_hub_without_a_network_says_what_works_here_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    waits: list[float] = []  # between attempts that cannot succeed
    monkeypatch.setattr("time.sleep", waits.append)
    lines = refused("someone/a-model-that-is-not-cached").splitlines()
    assert waits == []
    assert "someone/a-model-that-is-not-cached" in lines[0] and "cannot be reached" in lines[0]
    assert lines[1] == "here works: python train.py experiment=quickstart"


def test_what_the_hub_refuses_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib

    from huggingface_hub import errors

    http = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
    answer = http.Response(403, request=http.Request("GET", "https://huggingface.co"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    expected = {
        errors.GatedRepoError: "accept its licence at https://huggingface.co/some/model",
        errors.RepositoryNotFoundError: "neither a directory here nor a model of the Hub",
        errors.RevisionNotFoundError: "no revision v9",
    }
    for kind, words in expected.items():

        def fail(*_: Any, kind: Any = kind, **__: Any) -> None:
            raise kind("refused", response=answer)

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
        assert words in refused("some/model", revision="v9")


def test_only_what_is_needed_is_asked_of_the_hub(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import filter_repo_objects

    asked: list[dict[str, Any]] = []

    def download(name: str, **keywords: Any) -> str:
        asked.append({"name": name, **keywords})
        return str(tiny_sd)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    locate(model_config("some/model", revision="abc", variant="fp16"))
    assert (asked[0]["name"], asked[0]["revision"], asked[0]["local_files_only"]) == ("some/model", "abc", False)
    files = [
        "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "unet/diffusion_pytorch_model.bin",
        "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors", "tokenizer/vocab.json",
        "tokenizer/merges.txt", "scheduler/scheduler_config.json", "safety_checker/config.json",
        "safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json", "README.md",
    ]  # fmt: skip
    small = {
        "model_index.json", "unet/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    }  # fmt: skip

    def chosen(keywords: dict[str, Any]) -> set[str]:
        patterns = {name: keywords[name] for name in ("allow_patterns", "ignore_patterns")}
        return set(filter_repo_objects(files, **patterns)) - small

    assert chosen(asked[0]) == {"unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors"}
    asked.clear()
    locate(model_config("some/model"))
    assert chosen(asked[0]) == {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}


@pytest.mark.parametrize("path", ["/nowhere/at/all", "no-such-directory", "a/b/c"])
def test_what_can_be_no_hub_name_is_a_missing_directory(path: str) -> None:
    assert "neither a directory here nor a Hub name" in refused(path)


def test_other_kinds_of_models_are_named(model: Path, tmp_path: Path) -> None:
    edit(model / "unet" / "config.json", in_channels=9)
    assert "inpainting" in refused(model)
    edit(model / "model_index.json", _class_name="StableDiffusionXLPipeline")
    assert "lacks text_encoder_2, tokenizer_2" in refused(model)
    (model / "text_encoder").rename(model / "text_encoder_2")
    assert "refiner" in refused(model)
    edit(model / "model_index.json", _class_name="FluxPipeline")
    assert "FluxPipeline" in refused(model)
    assert "model_index.json" in refused(tmp_path)


def test_a_model_that_is_not_whole_is_refused(model: Path) -> None:
    weights = model / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "no safetensors weights for vae" in refused(model)
    shutil.rmtree(model / "tokenizer")
    assert "lacks tokenizer" in refused(model)
