"""rsLoRA and DoRA: what they compute, and that their files are read back as the same, by us and by stock diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from emote.lora.adapter import attach, trainable
from emote.lora.adapter_file import Format, open_adapter, read_adapter
from emote.lora.formats import save_diffusers, save_kohya, take_out, write_diffusers
from emote.lora.loading import load_for_sampling
from emote.lora.resize import reduce_rank
from emote.lora.warm_start import warm_start
from emote.models.components import load_unet
from emote.util.errors import ConfigError
from tests.models.helpers import lora_config


def answer(unet: UNet2DConditionModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 16, generator=generator)
    with torch.no_grad():
        return unet(latents, 500, text).sample


def trained(tiny_sd: Path, variant: str, targets: str = "attention") -> UNet2DConditionModel:
    """A UNet whose adapter is not what it started as."""
    unet = load_unet(tiny_sd)
    attach(unet, lora_config(variant=variant, targets=targets))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(unet).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return unet


def test_a_dora_starts_as_the_base_model(tiny_sd: Path) -> None:
    unet = load_unet(tiny_sd)
    before = answer(unet)
    attach(unet, lora_config(variant="dora"))
    assert torch.allclose(answer(unet), before, atol=1e-5)
    kinds = {name.split(".lora_")[1].split(".")[0] for name in trainable(unet)}
    assert kinds == {"A", "B", "magnitude_vector"}


def test_rslora_is_plain_lora_with_the_root_of_the_rank(tiny_sd: Path) -> None:
    stabilised, plain = trained(tiny_sd, "rslora"), load_unet(tiny_sd)
    attach(plain, lora_config(alpha=8.0))  # 4 / √4 = 8 / 4
    with torch.no_grad():
        for one, other in zip(trainable(plain).values(), trainable(stabilised).values(), strict=True):
            one.copy_(other)
    assert torch.allclose(answer(stabilised), answer(plain), atol=1e-6)
    assert not torch.allclose(answer(stabilised), answer(load_unet(tiny_sd)), atol=1e-3)


@pytest.mark.parametrize("targets", ["attention", "all"])
@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_the_file_computes_the_same_here_and_in_stock_diffusers(
    variant: str, targets: str, tiny_sd: Path, tmp_path: Path
) -> None:
    unet = trained(tiny_sd, variant, targets)
    file = save_diffusers(unet, tmp_path, lora_config(variant=variant, targets=targets))
    ours, stock = load_unet(tiny_sd), UNet2DConditionModel.from_pretrained(tiny_sd, subfolder="unet")
    load_for_sampling(ours, file)
    stock.load_lora_adapter(str(tmp_path), weight_name=file.name, prefix="unet")
    wanted = answer(unet)
    for loaded in (ours, stock):
        assert torch.allclose(answer(loaded), wanted, atol=1e-5)
    assert not torch.allclose(wanted, answer(load_unet(tiny_sd)), atol=1e-3)


def test_a_dora_is_read_written_and_started_from_bit_for_bit(tiny_sd: Path, tmp_path: Path) -> None:
    unet, lora = trained(tiny_sd, "dora"), lora_config(variant="dora")
    file = save_diffusers(unet, tmp_path / "first", lora)
    assert open_adapter(file).format is Format.diffusers
    assert write_diffusers(read_adapter(file), tmp_path / "second.safetensors").read_bytes() == file.read_bytes()
    again = load_unet(tiny_sd)
    attach(again, lora)
    warm_start(again, lora_config(variant="dora", init_from=str(file)))
    assert all(torch.equal(p, trainable(unet)[name]) for name, p in trainable(again).items())
    plain = load_unet(tiny_sd)
    attach(plain, lora_config())
    with pytest.raises(ConfigError, match=r"is a DoRA; set lora\.variant=dora"):
        warm_start(plain, lora_config(init_from=str(file)))


def test_a_dora_has_diffusers_format_alone(tiny_sd: Path, tmp_path: Path) -> None:
    unet, lora = trained(tiny_sd, "dora"), lora_config(variant="dora")
    with pytest.raises(ConfigError, match=r"a DoRA cannot be written in kohya's format"):
        save_kohya(unet, tmp_path / "kohya.safetensors", lora, {})
    with pytest.raises(ConfigError, match=r"a DoRA cannot be reduced"):
        reduce_rank(take_out(unet, lora), 2)
    assert not (tmp_path / "kohya.safetensors").exists()
