"""An adapter of every tool, in everything that uses adapters, against weights that were merged without them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel

from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import find_adapter
from emote.lora.adapter import attach
from emote.lora.adapter_file import find_adapter_file, open_adapter, read_adapter
from emote.lora.formats import write_diffusers, write_kohya
from emote.lora.fuse import Recipe, fuse_to_directory
from emote.lora.warm_start import adapt_text, text_encoder_key, warm_start, warm_start_key
from emote.models.components import load_text_encoder, load_unet
from emote.models.prompts import PromptEncoder
from emote.util.errors import ConfigError
from tests.inference.conftest import model_config
from tests.lora.tools import ALPHA, ONE_PART, RANK, TOOLS, WORDS, Matrices, matrices, merged, relative, wanted
from tests.models.helpers import answer, lora_config

ROUNDING = 3e-6  # of float32, over a whole UNet
CELLS = [(tool, text) for tool in TOOLS for text in (False, True) if not (text and tool in ONE_PART)]


@pytest.fixture(scope="module")
def base(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Stable Diffusion with as many layers a block as the real ones have, for the original names."""
    path = Path(shutil.copytree(tiny_sd, tmp_path_factory.mktemp("base") / "two"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = json.loads((path / "unet" / "config.json").read_text()) | {"layers_per_block": 2}
        UNet2DConditionModel.from_config(config).save_pretrained(path / "unet")
    return path


@pytest.fixture(scope="module")
def generator(base: Path) -> ImageGenerator:
    return ImageGenerator(model_config(base), "cpu")


@pytest.fixture
def written(base: Path, tmp_path: Path) -> Callable[[str, bool], tuple[Path, Matrices]]:
    def write(tool: str, text: bool) -> tuple[Path, Matrices]:
        parts = {"unet": load_unet(base)} | ({"text_encoder": load_text_encoder(base)} if text else {})
        of = matrices(parts)
        folder = tmp_path / "given"
        folder.mkdir()
        return TOOLS[tool](of, folder), of

    return write


@pytest.mark.parametrize(("tool", "text"), CELLS)
def test_it_draws_with_the_merged_weights(
    base: Path, generator: ImageGenerator, written: Any, tool: str, text: bool
) -> None:
    given, of = written(tool, text)
    generator.use(find_adapter(str(given), model=model_config(base)))
    unet, encoded = wanted(base, of)
    assert relative(answer(generator._unet), unet) < ROUNDING
    assert relative(generator._encoder(WORDS), encoded) < ROUNDING
    plain = load_unet(base)
    assert relative(answer(plain), unet) > 1e-3 and (relative(PromptEncoder(base)(WORDS), encoded) > 1e-3) == text


@pytest.mark.parametrize(("tool", "text"), CELLS)
def test_training_starts_from_the_merged_weights(base: Path, written: Any, tool: str, text: bool) -> None:
    given, of = written(tool, text)
    lora = lora_config(init_from=str(given), rank=RANK, alpha=ALPHA)
    unet, encoder = load_unet(base), PromptEncoder(base)
    attach(unet, lora)
    layers = warm_start(unet, lora)
    adapt_text(encoder.encoders, lora)
    assert relative(answer(unet), wanted(base, of)[0]) < ROUNDING
    assert relative(encoder(WORDS), wanted(base, of)[1]) < ROUNDING
    assert layers.keys() == {name for name in of if not name.startswith("unet.")}
    assert (text_encoder_key(lora, "base") != "base") == text


@pytest.mark.parametrize(("tool", "text"), CELLS)
def test_it_is_fused_and_converted_to_the_same(base: Path, written: Any, tmp_path: Path, tool: str, text: bool) -> None:
    given, of = written(tool, text)
    file = find_adapter_file(given)
    assert file
    adapter = read_adapter(file)
    fused = fuse_to_directory(Recipe(adapter), base, None, tmp_path / "fused")
    pairs = [(load_unet(fused), merged("unet", load_unet(base), of)),
             (load_text_encoder(fused), merged("text_encoder", load_text_encoder(base), of))]  # fmt: skip
    for ours, theirs in pairs:
        states = ours.state_dict(), theirs.state_dict()
        assert max(relative(states[0][name], tensor) for name, tensor in states[1].items()) < ROUNDING
    for path in (
        write_kohya(adapter, tmp_path / "k.safetensors"),
        write_diffusers(adapter, tmp_path / "d.safetensors"),
    ):
        layers = read_adapter(path).layers
        assert layers.keys() == of.keys()
        for name, (down, up) in of.items():
            assert torch.equal(layers[name].down, down) and torch.equal(layers[name].up, up)
            assert layers[name].scale == ALPHA / RANK


def test_peft_s_own_directories_are_read_for_each_part_and_together(base: Path, tmp_path: Path) -> None:
    settings = {"r": 2, "lora_alpha": 6, "use_rslora": True, "init_lora_weights": False, "bias": "none"}
    unet, text = load_unet(base), load_text_encoder(base)
    for part, model, targets in (("unet", unet, ["to_q", "conv1"]), ("text_encoder", text, ["q_proj"])):
        peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, **settings)).save_pretrained(tmp_path / part)
    together: set[str] = set()
    for part, model in (("unet", unet), ("text_encoder", text)):
        file = find_adapter_file(tmp_path / part)
        assert file
        layers = read_adapter(file).layers
        together |= layers.keys()
        assert all(layer.scale == pytest.approx(6 / 2**0.5) for layer in layers.values())
        found = {n for n, module in model.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)}
        assert len(layers) == len(found) and all(name.startswith(f"{part}.") for name in layers)
    assert find_adapter_file(tmp_path) == tmp_path
    whole = open_adapter(tmp_path)
    assert whole.load().layers.keys() == together and whole.parts().keys() == {"unet", "text_encoder"}
    adapter = find_adapter(str(tmp_path), model=model_config(base))
    key = warm_start_key(lora_config(init_from=str(tmp_path)))
    half = find_adapter(str(tmp_path / "unet"), model=model_config(base))
    assert (adapter.name, half.name) == (tmp_path.name, "unet") and adapter.short_hash != half.short_hash
    assert key != warm_start_key(lora_config(init_from=str(tmp_path / "unet")))
    settings = tmp_path / "text_encoder" / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"lora_alpha": 6', '"lora_alpha": 7'))
    assert warm_start_key(lora_config(init_from=str(tmp_path))) != key
    (tmp_path / "unet" / "adapter_config.json").unlink()
    alphas = {layer.alpha for layer in read_adapter(tmp_path / "unet" / "adapter_model.safetensors").layers.values()}
    assert alphas == {2.0}  # said in a warning: it is not known


def test_a_directory_of_parts_is_refused_where_one_of_them_is_not_whole(base: Path, tmp_path: Path) -> None:
    of = matrices({"unet": load_unet(base), "text_encoder": load_text_encoder(base)})
    TOOLS["peft"](of, tmp_path)
    text = tmp_path / "text_encoder" / "adapter_model.safetensors"
    sound = text.read_bytes()
    text.write_bytes(sound[:-10])
    with pytest.raises(ConfigError, match=r"text_encoder/adapter_model\.safetensors is cut off"):
        open_adapter(tmp_path)
    text.write_bytes(sound)
    settings = text.with_name("adapter_config.json")
    settings.write_text(settings.read_text().replace('"LORA"', '"LOHA"'))
    with pytest.raises(ConfigError, match=r"cannot be used: text_encoder/adapter_model\.safetensors is peft's LOHA"):
        read_adapter(tmp_path)
    text.rename(text.with_suffix(".bin"))
    with pytest.raises(
        ConfigError, match=r"text_encoder has adapter_config\.json and no adapter_model\.safetensors, so"
    ):
        find_adapter_file(tmp_path)
    shutil.copyfile(tmp_path / "unet" / "adapter_model.safetensors", tmp_path / "adapter_model.safetensors")
    shutil.rmtree(tmp_path / "text_encoder")
    with pytest.raises(ConfigError, match=r"is damaged: two of its files change unet\.down_blocks"):
        read_adapter(tmp_path)


def test_the_strength_is_of_the_text_encoder_too_and_nothing_is_left_of_it(
    base: Path, generator: ImageGenerator, written: Any
) -> None:
    given, of = written("kohya", True)
    request = Request(prompt="a cat", seed=3, width=32, height=32, inference_steps=2, guidance_scale=2.0)

    def draw(scale: float) -> list[bytes]:
        return [generator.draw([Request(**(vars(request) | {"lora_scale": scale}))])[0].tobytes()]

    generator.use(None)
    plain = draw(0.0)
    adapter = find_adapter(str(given), model=model_config(base))
    generator.use(adapter)
    assert draw(0.0) == plain
    half = draw(0.5)
    assert relative(generator._embedding_TD("a cat", 0.5), wanted(base, of, 0.5)[1][0]) < ROUNDING
    assert half != plain and draw(1.0) != half and draw(0.5) == half
    generator.use(None)
    assert draw(0.0) == plain
    assert isinstance(generator._encoder.encoders["text_encoder"], CLIPTextModel)
