from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from emote.models import components
from emote.util.errors import ConfigError
from tests.conftest import ROOT

CAPTIONS = ["An emoji of cat", "", "An emoji of a caption that is longer than the tokenizer has room for"]


def copy_model(tiny_sd: Path, to: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, to))


@pytest.mark.parametrize("load", [components.load_unet, components.load_vae, components.load_text_encoder])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_parts_are_frozen_in_eval_mode_and_of_the_asked_dtype(tiny_sd: Path, load: Any, dtype: torch.dtype) -> None:
    part = load(tiny_sd, dtype, "cpu")
    assert not part.training and not any(p.requires_grad for p in part.parameters())
    assert {p.dtype for p in part.parameters()} == {dtype}


def test_the_schedule_is_stable_diffusions_and_clips_nothing(tiny_sd: Path) -> None:
    schedule = components.load_scheduler(tiny_sd)
    assert isinstance(schedule, DDPMScheduler)
    assert len(schedule.alphas_cumprod) == 1000
    assert float(schedule.alphas_cumprod[-1]) == pytest.approx(0.0047, abs=1e-4)  # SD's terminal noise level
    assert not schedule.config["clip_sample"] and schedule.config["prediction_type"] == "epsilon"


def test_prompts_are_encoded_as_the_pipeline_does(tiny_sd: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    tokenizer, encoder = components.load_tokenizer(tiny_sd), components.load_text_encoder(tiny_sd)
    ours = components.encode_prompts(tokenizer, encoder, CAPTIONS)
    theirs, empty = pipeline.encode_prompt(CAPTIONS, "cpu", 1, True)
    assert ours.shape == (3, tokenizer.model_max_length, 16)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours[1], empty[1])


def test_a_sample_of_the_encoded_posterior_is_the_pipelines_latents(tiny_sd: Path) -> None:
    vae = components.load_vae(tiny_sd)
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    mean, logvar = components.encode_images(vae, pixels)
    assert mean.shape == logvar.shape == (2, 4, 8, 8)
    posterior = vae.encode(pixels).latent_dist
    expected = posterior.sample(torch.Generator().manual_seed(3)) * vae.config["scaling_factor"]
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(mean + torch.exp(logvar / 2) * noise, expected, atol=1e-6)
    assert torch.allclose(logvar - posterior.logvar, torch.tensor(2 * math.log(0.18215)), atol=1e-5)


def test_posteriors_are_float32_whatever_the_autoencoder_is(tiny_sd: Path) -> None:
    mean, logvar = components.encode_images(components.load_vae(tiny_sd, torch.bfloat16), torch.zeros(1, 3, 32, 32))
    assert mean.dtype is logvar.dtype is torch.float32


def test_the_variant_is_preferred_where_there_is_one(tiny_sd: Path, tmp_path: Path) -> None:
    model = copy_model(tiny_sd, tmp_path / "model")
    plain = model / "unet" / "diffusion_pytorch_model.safetensors"
    components.load_unet(tiny_sd, torch.float16).save_pretrained(model / "unet", variant="fp16")
    assert components.weight_files(model, "unet") == [plain]
    assert components.weight_files(model, "unet", "fp16")[0].name == "diffusion_pytorch_model.fp16.safetensors"
    assert components.weight_files(model, "vae", "fp16")[0].name == "diffusion_pytorch_model.safetensors"
    plain.unlink()
    assert components.load_unet(model, torch.float16, variant="fp16").dtype is torch.float16
    assert components.load_vae(model, variant="fp16").dtype is torch.float32
    assert components.locate.__module__ == "emote.models.locate"


def test_weights_that_are_missing_or_broken_are_a_plain_message(tiny_sd: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = copy_model(tiny_sd, tmp_path / "model")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors.pop("conv_out.bias")
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"unet.*conv_out\.bias"):
        components.load_unet(model)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="unet cannot be loaded"):
        components.load_unet(model)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ConfigError, match="no weights as safetensors"):
        components.load_unet(model)


def fingerprints(model: Path, **keywords: Any) -> dict[str, str]:
    parts = ("unet", "vae", "text_encoder", "scheduler")
    return {part: components.fingerprint(model, part, **keywords) for part in parts}


def test_a_fingerprint_is_of_the_content_and_not_of_the_place(tiny_sd: Path, tmp_path: Path) -> None:
    model = copy_model(tiny_sd, tmp_path / "elsewhere")
    config = model / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_diffusers_version": "0.0", "_name_or_path": "x"}))
    assert fingerprints(model) == fingerprints(tiny_sd)
    assert len(set(fingerprints(model).values())) == 4


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("unet", "unet/diffusion_pytorch_model.safetensors"),
        ("vae", "vae/diffusion_pytorch_model.safetensors"),
        ("text_encoder", "text_encoder/model.safetensors"),
        ("text_encoder", "tokenizer/vocab.json"),
    ],
)
def test_one_byte_changes_the_fingerprint_of_its_part_alone(
    tiny_sd: Path, tmp_path: Path, part: str, file: str
) -> None:
    model = copy_model(tiny_sd, tmp_path / "model")
    content = bytearray((model / file).read_bytes())
    content[-1] ^= 1
    (model / file).write_bytes(content)
    before, after = fingerprints(tiny_sd), fingerprints(model)
    assert [name for name in before if before[name] != after[name]] == [part]


def test_tokenizer_files_that_repeat_the_one_file_change_no_fingerprint(tmp_path: Path) -> None:
    """Transformers 5 writes tokenizer.json, transformers 4 reads vocab.json and merges.txt."""
    from tokenizers import Tokenizer

    model = copy_model(ROOT / "weights" / "mini", tmp_path / "model")
    folder = model / "tokenizer"
    Tokenizer.from_file(str(folder / "tokenizer.json")).model.save(str(folder))
    both = fingerprints(model)
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    assert fingerprints(model) == both
    assert components.load_tokenizer(model)("a red apple").input_ids  # with any release of transformers
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    another = fingerprints(model)["text_encoder"]
    assert another != both["text_encoder"]
    (folder / "tokenizer.json").unlink()
    assert fingerprints(model)["text_encoder"] not in {another, both["text_encoder"]}


def test_hashes_of_large_files_are_remembered(tiny_sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emote.models import weights

    model, cache = copy_model(tiny_sd, tmp_path / "model"), tmp_path / "cache"
    first = components.fingerprint(model, "unet", cache_dir=cache)
    assert not cache.exists()  # small files are not worth it
    monkeypatch.setattr(weights, "REMEMBERED_FROM_BYTES", 1)
    assert components.fingerprint(model, "unet", cache_dir=cache) == first
    with monkeypatch.context() as patch:
        patch.setattr(weights, "_hash", lambda file: pytest.fail(f"hashed {file} again"))
        assert components.fingerprint(model, "unet", cache_dir=cache) == first
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert components.fingerprint(model, "unet", cache_dir=cache) != first
    (cache / "weight_hashes.json").write_text("{broken")
    assert components.fingerprint(tiny_sd, "unet", cache_dir=cache) == first


def test_a_part_that_is_not_there_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unet"):
        components.fingerprint(tmp_path, "unet")
