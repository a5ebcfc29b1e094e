"""Adapters that LyCORIS' and OneTrainer's own code writes, read here, against what that code itself makes of them.

    pip install --no-deps --target peers lycoris-lora einops toml parse
    git clone --depth 1 https://github.com/Nerogar/OneTrainer
    PYTHONPATH=peers python -m emote.tools.peers lycoris=peers onetrainer=OneTrainer

Prints a line for each kind: the layers and the largest relative error of a merged weight (LyCORIS) or of the model's
answer (OneTrainer), or the sentence that refuses it. Neither is installed.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from emote.lora.adapter_file import read_adapter
from emote.lora.fuse import Recipe, fuse_to_directory
from emote.lora.loading import load_for_sampling
from emote.models.components import load_text_encoder, load_unet
from emote.util.errors import ConfigError

RANK, ALPHA = 4, 2.0
Parts = dict[str, Any]  # of a pipeline, by their names
LYCORIS: dict[str, dict[str, Any]] = {
    "LoRA": {"preset": "attn-mlp"}, "LoCon": {}, "LoCon, rank-stabilised": {"rs_lora": True},
    "LoCon, other rank of convolutions": {"conv_dim": 2, "conv_alpha": 1}, "with a scalar": {"use_scalar": True},
    "with core tensors": {"use_tucker": True}, "with norms": {"train_norm": True}, "DoRA": {"dora_wd": True},
    "DoRA over inputs": {"dora_wd": True, "wd_on_output": False}, "LoHa": {"algo": "loha"}, "LoKr": {"algo": "lokr"},
    "DyLoRA": {"algo": "dylora"}, "GLoRA": {"algo": "glora"}, "IA3": {"algo": "ia3"}, "full": {"algo": "full"},
    "Diag-OFT": {"algo": "diag-oft"}, "BOFT": {"algo": "boft"}, "T-LoRA": {"algo": "tlora"},
}  # fmt: skip
# LyCORIS' preset "full" without what it names twice in 4.1.3 (time_embedding)
TARGETS = {
    "enable_conv": True, "unet_target_module": ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"],
    "unet_target_name": ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"],
    "text_encoder_target_module": ["CLIPAttention", "CLIPMLP"], "text_encoder_target_name": [],
}  # fmt: skip
ONETRAINER = ("LORA", "DORA", "LOHA", "LOKR", "OFT_2")


def main(arguments: list[str]) -> int:
    """Returns 1 where something was read otherwise than it was written."""
    places = dict(word.partition("=")[::2] for word in arguments)
    wrong, output = 0, sys.stdout
    with tempfile.TemporaryDirectory() as directory:
        base = build_base(Path(directory, "base"))
        for name, compare in (("lycoris", with_lycoris), ("onetrainer", with_onetrainer)):
            if name in places:
                sys.path.insert(0, str(Path(places[name]).resolve()))
                with redirect_stdout(sys.stderr):  # they say much
                    for kind, told, is_right in compare(base, Path(directory, name)):
                        print(f"{name} | {kind} | {told}", file=output, flush=True)
                        wrong += not is_right
    return 1 if wrong else 0


def build_base(directory: Path) -> Path:
    """Write a small model of as many blocks and layers as Stable Diffusion 1.5 has, in diffusers' layout."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 16, 16), layers_per_block=2, cross_attention_dim=8,
        attention_head_dim=4, norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=16, bos_token_id=0, eos_token_id=1, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=8,
        )
    )  # fmt: skip
    unet.save_pretrained(directory / "unet")
    text.save_pretrained(directory / "text_encoder")
    (directory / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return directory


def with_lycoris(base: Path, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield (kind, what was found, whether it is right) of each of LyCORIS' kinds, as kohya's scripts use it."""
    from lycoris.config import PRESET
    from lycoris.kohya import create_network

    PRESET["emote"] = TARGETS
    logging.disable(logging.WARNING)
    for kind, words in LYCORIS.items():
        parts = fresh(base)
        torch.manual_seed(1)
        both = (parts["text_encoder"], parts["unet"])
        network = create_network(1.0, RANK, ALPHA, None, *both, **{"preset": "emote", **words})
        network.apply_to(parts["text_encoder"], parts["unet"], True, True)
        learn(network)
        file = folder / f"{kind}.safetensors"
        file.parent.mkdir(exist_ok=True)
        network.save_weights(str(file), torch.float32, {})
        yield kind, *_read(file, lambda file=file, network=network, parts=parts: _merged(file, base, network, parts))  # type: ignore[misc]


def with_onetrainer(base: Path, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield the same of OneTrainer's kinds, in each of the formats that it writes."""
    sys.meta_path.append(Absent())
    from modules.model.StableDiffusionModel import StableDiffusionModel
    from modules.modelSaver.stableDiffusion.StableDiffusionLoRASaver import (
        StableDiffusionLoRASaver,
    )
    from modules.module.LoRAModule import LoRAModuleWrapper
    from modules.util.config.TrainConfig import TrainConfig
    from modules.util.enum.ModelFormat import ModelFormat
    from modules.util.enum.ModelType import ModelType, PeftType

    for kind in ONETRAINER:
        config = TrainConfig.default_values()
        config.peft_type = PeftType.LORA if kind == "DORA" else PeftType[kind]
        config.lora_decompose, config.lora_rank, config.lora_alpha = kind == "DORA", RANK, ALPHA
        config.train_device = "cpu"
        for formats in ModelFormat:
            if formats is not ModelFormat.INTERNAL and not formats.name.endswith("_LORA"):
                continue
            parts = fresh(base)
            torch.manual_seed(1)
            model = StableDiffusionModel(ModelType.STABLE_DIFFUSION_15)
            model.train_config, model.unet, model.text_encoder = config, parts["unet"], parts["text_encoder"]
            model.unet_lora = LoRAModuleWrapper(parts["unet"], "unet", config)
            if formats is not ModelFormat.ORIGINAL_LORA:  # which has no place for it
                model.text_encoder_lora = LoRAModuleWrapper(parts["text_encoder"], "text_encoder", config)
            for wrapper in filter(None, (model.unet_lora, model.text_encoder_lora)):
                for module in wrapper.lora_modules.values():
                    learn(module)
                wrapper.hook_to_module()
            place = folder / f"{kind} {formats.name}"
            file = place / "lora" / "lora.safetensors"
            to = place if formats is ModelFormat.INTERNAL else file
            StableDiffusionLoRASaver().save(model, formats, str(to), torch.float32)
            told = _read(file, lambda file=file, parts=parts: _answers(file, base, parts))  # type: ignore[misc]
            yield f"{kind} {formats.name}", *told


def fresh(base: Path) -> Parts:
    return {"unet": load_unet(base), "text_encoder": load_text_encoder(base)}


@torch.no_grad()
def learn(module: nn.Module) -> None:
    """Move every parameter, as training would."""
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)


def _read(file: Path, error: Callable[[], tuple[int, float]]) -> tuple[str, bool]:
    try:
        layers, largest = error()
    except ConfigError as refused:
        return f"refused: {str(refused).replace(str(file), 'it')}", True
    return f"{layers} layers, relative error {largest:.1e}", largest < 1e-5


def _merged(file: Path, base: Path, network: Any, parts: Parts) -> tuple[int, float]:
    """(layers, the largest relative error of a weight that either changes)."""
    adapter = read_adapter(file)
    fused = fresh(fuse_to_directory(Recipe(adapter), base, None, file.with_suffix("")))
    before = fresh(base)
    for layer in network.loras:
        layer.merge_to(1.0)
    errors = []
    for part, model in before.items():
        ours, theirs = fused[part].state_dict(), parts[part].state_dict()
        for name, plain in model.state_dict().items():
            if not torch.equal(plain, theirs[name]) or not torch.equal(plain, ours[name]):
                errors.append(_relative(ours[name] - plain, theirs[name] - plain))
    return len(adapter.layers), max(errors)


@torch.no_grad()
def _answers(file: Path, base: Path, parts: Parts) -> tuple[int, float]:
    """(layers, the larger relative error of what the UNet and the text encoder answer)."""
    own, plain = fresh(base), fresh(base)
    load_for_sampling(own["unet"], file, {"text_encoder": own["text_encoder"]})
    told = [_ask(of) for of in (plain, parts, own)]
    errors = [
        _relative(ours - base_answer, theirs - base_answer)
        for base_answer, theirs, ours in zip(*told, strict=True)
        if not torch.equal(base_answer, theirs) or not torch.equal(base_answer, ours)
    ]
    return len(read_adapter(file).layers), max(errors)


def _ask(parts: Parts) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    latents, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 8, 8, generator=generator)
    words = parts["text_encoder"](torch.arange(8)[None]).last_hidden_state
    return [parts["unet"](latents, torch.tensor([10, 700]), context).sample, words]


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


class Anything(type):
    """A class whose attributes are all that class."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Absent:
    """Stands in for packages that OneTrainer imports and does not use here."""

    KNOWN = ("gguf", "mgds", "scalene", "tensorboard", "fabric", "cloudpickle", "cv2")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        import importlib.machinery

        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in self.KNOWN else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        module = ModuleType(spec.name)
        module.__path__ = []
        stand_in = Anything("Anything", (), {})
        module.__getattr__ = lambda name: getattr(stand_in, name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
