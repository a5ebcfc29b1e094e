"""Base models that need what is not done here are refused before a weight is read; the others are read as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emote.models import supported
from emote.models.components import fingerprint, load_scheduler, load_text_encoder, load_unet
from emote.models.locate import locate
from tests.models.single_files import write_single_file
from tests.models.test_locate import edit, model_config, refused


@pytest.fixture
def model(tiny_sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, tmp_path / "model"))


UNET, VAE, TEXT, SCHEDULER = "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler"


@pytest.mark.parametrize(
    ("where", "changes", "words"),
    [
        (UNET, {"class_embed_type": "projection"}, "image's embedding (class_embed_type=projection)"),
        (UNET, {"num_class_embeds": 1000}, "class labels (num_class_embeds=1000)"),
        (UNET, {"encoder_hid_dim": 768, "encoder_hid_dim_type": "text_proj"}, "another encoder's embedding"),
        (UNET, {"addition_embed_type": "text"}, "addition_embed_type=text"),
        (UNET, {"addition_embed_type": "text_time"}, "a UNet that reads two text encoders"),
        (UNET, {"time_cond_proj_dim": 256}, "distilled model (its UNet is told the guidance, as LCM's are)"),
        (UNET, {"cross_attention_dim": 768}, "reads text of width 768, and text encoders that give 16"),
        (UNET, {"out_channels": 8}, "predicts 8 channels of latents that have 4"),
        (UNET, {"_class_name": "UNetMotionModel"}, "has a UNetMotionModel for its UNet"),
        (VAE, {"_class_name": "AutoencoderTiny"}, "has an AutoencoderTiny for its autoencoder"),
        (VAE, {"latents_mean": [0.1, 0, 0, 0]}, "latents are also shifted (latents_mean)"),
        (VAE, {"latents_std": [1, 1, 1, 2]}, "latents are also shifted (latents_std)"),
        (VAE, {"shift_factor": 0.1}, "latents are also shifted (shift_factor)"),
        (VAE, {"in_channels": 6, "out_channels": 6}, "an autoencoder of 6 channels in"),
        (TEXT, {"model_type": "t5"}, "a text encoder of the kind t5"),
        (TEXT, {"hidden_size": 32}, "text encoders that give 32"),
        (SCHEDULER, {"_class_name": "EDMEulerScheduler"}, "trained by EDM (EDMEulerScheduler)"),
        (SCHEDULER, {"_class_name": "EDMDPMSolverMultistepScheduler"}, "trained by EDM"),
        (SCHEDULER, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
        (SCHEDULER, {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "flow matching"),
        (SCHEDULER, {"prediction_type": "sample"}, "predicts sample; epsilon and v_prediction"),
        (SCHEDULER, {"_class_name": "LCMScheduler"}, "distilled model (LCMScheduler)"),
        (SCHEDULER, {"_class_name": "TCDScheduler"}, "distilled model (TCDScheduler)"),
        (SCHEDULER, {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}, "=trailing"),
        (SCHEDULER, {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, "=trailing"),
        (SCHEDULER, {"_class_name": "MyScheduler"}, "MyScheduler, of which it is not known"),
        (SCHEDULER, {"beta_schedule": "mine"}, "beta_schedule=mine"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 77}, "model_max_length=77, and room for 32 tokens"),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused_with_the_reason(
    model: Path, where: str, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *_: pytest.fail("something was loaded"))
    edit(model / (f"{SCHEDULER}/scheduler_config.json" if where == SCHEDULER else where), **changes)
    said = refused(model)
    assert words in said and said.startswith(f"model.path: {model}")


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction_type": "v_prediction"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
        {"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"},
        {"_class_name": "UniPCMultistepScheduler", "use_karras_sigmas": True},
    ],
)
def test_what_is_done_here_is_not_refused(model: Path, changes: dict[str, Any]) -> None:
    edit(model / "scheduler" / "scheduler_config.json", **changes)
    edit(model / "vae" / "config.json", latents_mean=None, latents_std=None, shift_factor=None)
    assert locate(model_config(model)) == model
    told = load_scheduler(model).config
    assert all(told[key] == value for key, value in changes.items() if key in ("prediction_type", "timestep_spacing"))


def test_tokenizers_that_are_not_whole_are_refused(model: Path) -> None:
    (model / "tokenizer" / "tokenizer_config.json").unlink()
    assert "lacks tokenizer/tokenizer_config.json" in refused(model)
    for file in ("tokenizer.json", "vocab.json"):
        (model / "tokenizer" / file).unlink(missing_ok=True)
    assert "lacks tokenizer/vocab.json and merges.txt, or tokenizer/tokenizer.json" in refused(model)


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("my-turbo-emoji", True), ("SDXL-Lightning", True), ("lcm-dreamshaper-v7", True), ("Hyper-SD15", True),
        ("x_dmd2", True), ("turbovision", False), ("welcome", False), ("my-lcms", False), ("emoji", False),
    ],
)  # fmt: skip
def test_a_name_alone_refuses_nothing_and_is_told(
    tiny_sd: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, is_told: bool
) -> None:
    supported._advise.cache_clear()
    directory = Path(shutil.copytree(tiny_sd, tmp_path / name))
    file = marked(tiny_sd, tmp_path / f"{name}-1.safetensors", **{"modelspec.title": f"{name}-1"})
    for _ in range(2):
        assert locate(model_config(directory)) == directory
        assert locate(model_config(file, config=str(tiny_sd)))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (2 if is_told else 0)
    assert all(f"{name}" in line and "is called as distilled models are" in line for line in told)


def test_xl_s_parts_fit_together(tiny_sdxl: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_sdxl, tmp_path / "xl"))
    assert locate(model_config(model)) == model
    edit(model / "text_encoder_2" / "config.json", projection_dim=8)
    assert "does not read a pooled text embedding of width 8" in refused(model)
    edit(model / "unet" / "config.json", addition_embed_type=None)
    assert "has 2 of them, and a UNet that reads one text encoder" in refused(model)


def test_weights_that_there_are_in_half_precision_alone_are_used(model: Path) -> None:
    for file in model.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert locate(model_config(model)) == model
    assert len(fingerprint(model, "unet")) == 64
    assert load_unet(model).config.cross_attention_dim == load_text_encoder(model).config.hidden_size


def marked(tiny_sd: Path, path: Path, *marks: str, **metadata: str) -> Path:
    write_single_file(tiny_sd, path)
    save_file(load_file(path) | {mark: torch.zeros(0) for mark in marks}, path, metadata or None)
    return path


def test_a_single_file_s_markers_say_what_it_predicts(tiny_sd: Path, tmp_path: Path) -> None:
    plain = locate(model_config(marked(tiny_sd, tmp_path / "plain.safetensors"), config=str(tiny_sd)))
    v = locate(model_config(marked(tiny_sd, tmp_path / "v.safetensors", "v_pred"), config=str(tiny_sd)))
    zero = locate(model_config(marked(tiny_sd, tmp_path / "z.safetensors", "v_pred", "ztsnr"), config=str(tiny_sd)))
    assert load_scheduler(plain).config.prediction_type == "epsilon"
    assert load_scheduler(v).config.prediction_type == "v_prediction" and load_scheduler(v).alphas_cumprod[-1] > 0
    assert load_scheduler(zero).config.prediction_type == "v_prediction"
    assert load_scheduler(zero).alphas_cumprod[-1] == 0  # no signal at the last noise level
    assert len({fingerprint(base, "unet") for base in (plain, v, zero)}) == 3  # they train otherwise


def test_single_files_that_need_more_are_refused(tiny_sd: Path, tiny_sdxl: Path, tmp_path: Path) -> None:
    def said(path: Path, config: Path = tiny_sd) -> str:
        return refused(path, config=str(config))

    assert "trained by EDM (edm_vpred.sigma_max)" in said(marked(tiny_sd, tmp_path / "1", "edm_vpred.sigma_max"))
    labels = "model.diffusion_model.label_emb.0.0.weight"
    assert "also reads class labels" in said(marked(tiny_sd, tmp_path / "2", labels))
    title = {"modelspec.title": "Stable Diffusion Turbo"}
    assert "distilled model (turbo, as its header says)" in said(marked(tiny_sd, tmp_path / "3", **title))
    kind = {"modelspec.architecture": "stable-diffusion-v1-lcm", "modelspec.title": "x", "ss_output_name": "x"}
    assert "distilled model (lcm, as its header says)" in said(marked(tiny_sd, tmp_path / "7", **kind))
    told = "model.diffusion_model.time_embed.cond_proj.weight"
    assert "distilled model (its UNet is told the guidance" in said(marked(tiny_sd, tmp_path / "8", told))
    assert "is no XL, and the configuration in" in said(marked(tiny_sd, tmp_path / "4"), tiny_sdxl)
    wide = Path(shutil.copytree(tiny_sd, tmp_path / "wide"))
    edit(wide / "unet" / "config.json", cross_attention_dim=24)
    assert "reads text of width 16, and the configuration in" in said(marked(tiny_sd, tmp_path / "5"), wide)


def test_configurations_that_cannot_be_read_are_named(model: Path) -> None:
    for text in ("{", "[" * 100_000):
        (model / "vae" / "config.json").write_text(text)
        assert "vae/config.json cannot be read" in refused(model)
    (model / "vae" / "config.json").write_text(json.dumps([]))
    refused_or_read = (model / "scheduler" / "scheduler_config.json").unlink()
    assert refused_or_read is None and "scheduler_config.json cannot be read" in refused(model)
