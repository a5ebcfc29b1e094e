"""What every test relies on: no network, one thread, a Stable Diffusion in miniature, and composed configurations."""

from __future__ import annotations

import os

# before anything imports the libraries that read them once
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.config import Config, to_dataclass

torch.set_num_threads(1)  # for fixtures of modules too, which are made before `deterministic`

ROOT = Path(__file__).resolve().parent.parent
TINY_TOKENS = 32  # one a byte, so room for a short prompt


def _is_local(family: int, address: Any) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and look-ups beyond this machine fail, as they do without a network."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            if not _is_local(self.family, address):
                raise ConnectionRefusedError(f"tests have no network: {address}")
            return original(self, address)

        return call

    def look_up(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if host is not None and not _is_local(socket.AF_INET, (host.decode() if isinstance(host, bytes) else host,)):
            raise socket.gaierror(f"tests have no network: {host}")
        return getaddrinfo(host, *arguments, **keywords)

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """One thread and deterministic kernels: results do not depend on how busy or how large the machine is."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a Stable Diffusion that a stock pipeline loads: 32 px images, 8×8 latents, random weights."""
    return build_tiny_sd(tmp_path_factory.mktemp("tiny_sd"))


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a Stable Diffusion XL that a stock pipeline loads; sizes as in `tiny_sd`."""
    return build_tiny_sdxl(tmp_path_factory.mktemp("tiny_sdxl"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium, one a process: Playwright can be started once at a time. Skips where there is none."""
    from emote.tools.chromium import chromium
    from emote.util.errors import ConfigError

    with ExitStack() as stack:
        try:
            opened = stack.enter_context(chromium())
        except ConfigError as reason:
            pytest.skip(str(reason))
        yield opened


@pytest.fixture(scope="session")
def composed() -> dict[tuple[str, ...], Any]:
    """What Hydra made of each choice of files, for all tests of a process."""
    return {}


@pytest.fixture
def make_config(composed: dict[tuple[str, ...], Any]) -> Callable[..., Config]:
    """`make_config("experiment=smoke", **{"lora.rank": 8})`: conf/ composed with overrides, as plain dataclasses."""
    from emote.cli.composing import hydra_over_conf

    def make(*overrides: str, **values: Any) -> Config:
        typed = [f"{name}={'null' if value is None else value}" for name, value in values.items()]
        with hydra_over_conf() as composer:
            composer.composed = composed
            return to_dataclass(composer.compose([*overrides, *typed]))

    return make


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny_config(
    make_config: Callable[..., Config], tiny_sd: Path, tmp_path: Path, shared_cache: Path
) -> Callable[..., Config]:
    """The smoke experiment on the tiny model: 24 images, 6 steps of 4, checkpoints every 2."""

    def make(**values: Any) -> Config:
        defaults: dict[str, Any] = {
            "model.path": tiny_sd,
            "model.resolution": 32,
            "data.max_items": 24,
            "trainer.max_steps": 6,
            "trainer.accelerator": "cpu",
            "callbacks.checkpoint.every_steps": 2,
            "callbacks.validation.every_steps": 3,
            "callbacks.samples.inference_steps": 2,
            "run.dir": tmp_path / "runs",
            "run.cache_dir": shared_cache,
        }
        return make_config("experiment=smoke", **(defaults | values))

    return make


@pytest.fixture
def tiny_run(tiny_config: Callable[..., Config]) -> Callable[..., Path]:
    def go(**values: Any) -> Path:
        from emote.training.run import run

        return run(tiny_config(**values), ["experiment=smoke"])

    return go


def first_job(words: list[str]) -> list[str]:
    """What a sweep's first job is composed of: of `lora.rank=2,4` the first value; lists stay."""
    return [re.sub(r"=([\w.]+),[\w.,]+$", r"=\1", word) for word in words]


def build_tiny_sd(directory: Path) -> Path:
    """Write a tiny Stable Diffusion of SD 1.5's layout, always the same, to `directory` and return it."""
    from diffusers import PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        tokenizer = build_tiny_tokenizer(directory / "tokenizer")
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=TINY_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        vae = tiny_vae()
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
        )
    scheduler = PNDMScheduler(  # SD 1.5's own configuration
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    assemble(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(directory)
    return directory


def tiny_vae(**changes: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **changes,
    )


def build_tiny_sdxl(directory: Path) -> Path:
    """Write a tiny Stable Diffusion XL, always the same, to `directory` and return it."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(21)
        tokenizer = build_tiny_tokenizer(directory / "tokenizer")
        second_tokenizer = build_tiny_tokenizer(directory / "tokenizer_2", pad="!")
        clip: dict[str, Any] = {
            "vocab_size": len(tokenizer), "intermediate_size": 32, "num_attention_heads": 2,
            "max_position_embeddings": TINY_TOKENS, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }  # fmt: skip
        first = CLIPTextModel(
            CLIPTextConfig(**clip, hidden_size=16, num_hidden_layers=2, pad_token_id=tokenizer.pad_token_id)
        )
        second = CLIPTextModelWithProjection(
            CLIPTextConfig(
                **clip,
                hidden_size=24,
                num_hidden_layers=10,  # by the tenth, programs tell XL's single files
                projection_dim=24,
                hidden_act="gelu",
                pad_token_id=second_tokenizer.pad_token_id,
            )
        )
        vae = tiny_vae(scaling_factor=0.13025)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16 + 24,
            attention_head_dim=(2, 2),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            norm_num_groups=8,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
    scheduler = EulerDiscreteScheduler(  # XL's own configuration
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    StableDiffusionXLPipeline(
        vae=vae, text_encoder=first, text_encoder_2=second, tokenizer=tokenizer, tokenizer_2=second_tokenizer,
        unet=unet, scheduler=scheduler, add_watermarker=False,
    ).save_pretrained(directory)  # fmt: skip
    return directory


def assemble(**parts: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(**parts)


def build_tiny_tokenizer(directory: Path, pad: str = "<|endoftext|>") -> Any:
    """CLIP's tokenizer without merges: every byte is a token."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = directory / "vocab.json", directory / "merges.txt"
    vocabulary.write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=TINY_TOKENS, pad_token=pad)
