"""Several adapters as one: the sum of what each does, as stock diffusers adds them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from emote.lora.adapter_file import Adapter, Layer, read_adapter
from emote.lora.base_family import Base
from emote.lora.formats import write_diffusers, write_kohya
from emote.lora.loading import _one_name, put_layers
from emote.lora.mix import Part, mix
from emote.models import components
from emote.util.errors import ConfigError

WEIGHTS = (0.8, -0.4, 1.5)


def change(layer: Layer) -> torch.Tensor:
    return layer.scale * layer.up.flatten(1).double() @ layer.down.flatten(1).double()


def made(shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]], alpha: float, seed: int) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    layers = {
        name: Layer(torch.randn(down, generator=generator) * 0.2, torch.randn(up, generator=generator) * 0.2, alpha)
        for name, (down, up) in shapes.items()
    }
    return Adapter(layers, Base.unknown)


def test_a_layer_changes_by_the_weighted_sum_of_all_changes() -> None:
    linear, conv = "unet.down_blocks.0.attentions.0.proj_in", "unet.conv_in"
    one = made({linear: ((2, 6), (5, 2)), conv: ((3, 4, 3, 3), (7, 3, 1, 1))}, 4.0, 1)
    two = made({conv: ((1, 4, 3, 3), (7, 1, 1, 1))}, 0.5, 2)
    both = mix([Part("one", one, 0.8), Part("two", two, -0.4)])
    assert (both.layers[linear].rank, both.layers[conv].rank) == (2, 4)
    assert all(layer.alpha == layer.rank for layer in both.layers.values())
    assert torch.allclose(change(both.layers[linear]), 0.8 * change(one.layers[linear]), atol=1e-6)
    wanted = 0.8 * change(one.layers[conv]) - 0.4 * change(two.layers[conv])
    assert torch.allclose(change(both.layers[conv]), wanted, atol=1e-6) and wanted.abs().max() > 0.01


def test_a_part_of_weight_0_takes_no_room() -> None:
    one, two = (made({"unet.conv_in": ((2, 4, 3, 3), (7, 2, 1, 1))}, 2.0, seed) for seed in (1, 2))
    assert mix([Part("one", one, 1.0), Part("two", two, 0.0)]).layers["unet.conv_in"].rank == 2
    with pytest.raises(ConfigError, match="whose weights are all 0 does nothing; set run=base"):
        mix([Part("one", one, 0.0), Part("two", two, 0.0)])


def test_a_dora_is_refused_with_the_reason() -> None:
    plain = made({"unet.conv_in": ((2, 4, 3, 3), (7, 2, 1, 1))}, 2.0, 1)
    layer = plain.layers["unet.conv_in"]
    dora = Adapter({"unet.conv_in": Layer(layer.down, layer.up, 2.0, torch.ones(1, 7, 1, 1))}, plain.base)
    with pytest.raises(ConfigError, match=r"two is a DoRA, which cannot be mixed: .* do not add up"):
        mix([Part("one", plain, 1.0), Part("two", dora, 0.5)])


def test_parts_of_other_shapes_are_of_another_base_model() -> None:
    one = made({"unet.conv_in": ((2, 4, 3, 3), (7, 2, 1, 1))}, 2.0, 1)
    two = made({"unet.conv_in": ((2, 4, 3, 3), (8, 2, 1, 1))}, 2.0, 1)
    with pytest.raises(ConfigError, match="one, two are of different base models"):
        mix([Part("one", one, 1.0), Part("two", two, 1.0)])


@pytest.fixture(scope="module")
def files(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three that differ in all: diffusers' with text layers; kohya's with text layers, other targets; diffusers'."""
    folder = tmp_path_factory.mktemp("mix")
    unet, text = components.load_unet(tiny_sd), components.load_text_encoder(tiny_sd)
    weights = {
        _one_name(part, name): module.weight
        for part, whole in (("unet", unet), ("text_encoder", text))
        for name, module in whole.named_modules()
        if hasattr(module, "weight")
    }

    def adapter(rank: int, alpha: float, ends: tuple[str, ...], seed: int) -> Adapter:
        shapes = {
            name: ((rank, *weight.shape[1:]), (weight.shape[0], rank, *[1] * (weight.ndim - 2)))
            for name, weight in weights.items()
            if name.endswith(ends)
        }
        assert shapes
        return made(shapes, alpha, seed)

    write_diffusers(adapter(2, 2.0, ("attn1.to_q", "attn2.to_k", "q_proj"), 1), folder / "a.safetensors")
    write_kohya(
        adapter(4, 1.0, ("to_q", "conv1", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), 2),
        folder / "b.safetensors",
    )
    write_diffusers(adapter(3, 6.0, ("to_v", "conv_in", "conv1"), 3), folder / "c.safetensors")
    return [folder / f"{name}.safetensors" for name in "abc"]


def stock(tiny_sd: Path, files: list[Path], weights: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """What stock diffusers predicts, and encodes, with several adapters set at once."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    for file in files:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=file.stem)
    pipeline.set_adapters([file.stem for file in files], list(weights))
    return answers(pipeline.unet, pipeline.text_encoder)


@torch.no_grad()
def answers(unet: Any, text: Any) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    latents, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 6, 16, generator=generator)
    tokens = torch.arange(20).reshape(2, 10)
    return unet(latents, torch.tensor([10, 700]), context).sample, text(tokens)[0]


def ours(tiny_sd: Path, adapter: Adapter) -> tuple[torch.Tensor, torch.Tensor]:
    unet, text = components.load_unet(tiny_sd), components.load_text_encoder(tiny_sd)
    put_layers({"unet": unet, "text_encoder": text}, adapter.layers, Path("mix"))
    return answers(unet, text)


def test_a_mix_is_what_stock_diffusers_makes_of_the_same_files_and_weights(tiny_sd: Path, files: list[Path]) -> None:
    together = mix([Part(file.stem, read_adapter(file), w) for file, w in zip(files, WEIGHTS, strict=True)])
    wanted, found = stock(tiny_sd, files, WEIGHTS), ours(tiny_sd, together)
    base = answers(components.load_unet(tiny_sd), components.load_text_encoder(tiny_sd))
    for there, here, without in zip(wanted, found, base, strict=True):
        assert (there - here).norm() <= 1e-5 * there.norm() < (there - without).norm()


def test_written_as_one_file_it_is_read_as_the_same_by_both(tiny_sd: Path, files: list[Path], tmp_path: Path) -> None:
    together = mix([Part(file.stem, read_adapter(file), w) for file, w in zip(files, WEIGHTS, strict=True)])
    wanted = ours(tiny_sd, together)
    one = write_diffusers(together, tmp_path / "one.safetensors")
    for found in (ours(tiny_sd, read_adapter(one)), stock(tiny_sd, [one], (1.0,))):
        assert all((there - here).norm() <= 1e-5 * there.norm() for there, here in zip(wanted, found, strict=True))
    kohya = ours(tiny_sd, read_adapter(write_kohya(together, tmp_path / "two.safetensors")))
    assert all((there - here).norm() <= 1e-5 * there.norm() for there, here in zip(wanted, kohya, strict=True))
