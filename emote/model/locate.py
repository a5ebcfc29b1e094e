"""Where the base model lies: a directory, or the Hub's cache after a download of only what is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

import emote
from emote.config import ConfigError, ModelConfig
from emote.model.weights import STEMS, weight_files

PROJECT = Path(emote.__file__).resolve().parent.parent
HERE_WORKS = "here works: python train.py experiment=quickstart"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
HUB_TIMEOUT_S = 5.0
SMALL_FILES = ("model_index.json", "*/*.json", "tokenizer/*.txt")
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def locate(model: ModelConfig) -> Path:
    """The directory of the base model that `model.path` names, checked to be one that can be trained.

    A relative path is looked up from the working directory, then from the project's root; what is no directory is
    taken for a Hub name, and only its configurations and safetensors weights are downloaded (`revision`, `variant`).
    Raises ConfigError, of at most two lines, where it is not to be had or is another kind of model.
    """
    for directory in (Path(model.path).expanduser(), PROJECT / model.path):
        if directory.is_dir():
            return check(directory.resolve(), model.variant)
    if not HUB_NAME.fullmatch(model.path):
        raise ConfigError(f"model.path={model.path} is neither a directory here nor a Hub name\n{HERE_WORKS}")
    return check(_from_hub(model), model.variant)


def check(path: Path, variant: str | None = None) -> Path:
    """`path`, if it is a Stable Diffusion in diffusers' layout with safetensors weights; else raises ConfigError."""
    if not (path / "model_index.json").is_file():
        hint = " (a single file must be converted first)" if list(path.glob("*.safetensors")) else ""
        raise ConfigError(f"model.path: {path} is not a diffusers model: it has no model_index.json{hint}")
    kind = str(_read(path / "model_index.json").get("_class_name", ""))
    if "XL" in kind or (path / "text_encoder_2").is_dir():
        raise ConfigError(f"model.path: {path} is a Stable Diffusion XL, which is not supported yet; use SD 1.5 or 2")
    if not kind.startswith("StableDiffusion") or "StableDiffusion3" in kind:
        raise ConfigError(f"model.path: {path} is a {kind or 'pipeline of no known kind'}, not a Stable Diffusion")
    lacking = [part for part in PARTS if not (path / part).is_dir()]
    if lacking:
        raise ConfigError(f"model.path: {path} lacks {', '.join(lacking)}")
    unweighted = [part for part in STEMS if not weight_files(path, part, variant)]
    if unweighted:
        raise ConfigError(f"model.path: {path} has no safetensors weights for {', '.join(unweighted)}")
    channels = _read(path / "unet" / "config.json").get("in_channels", 4)
    latent_channels = _read(path / "vae" / "config.json").get("latent_channels", 4)
    if channels != latent_channels:
        what = "an inpainting model" if channels == latent_channels * 2 + 1 else "made for other inputs"
        raise ConfigError(f"model.path: {path} is {what} (its UNet has {channels} input channels); use the base model")
    return path


def _from_hub(model: ModelConfig) -> Path:
    # asked first, because this request has a timeout and no retries
    problem: Exception | None = None
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        huggingface_hub.HfApi().model_info(model.path, revision=model.revision, timeout=HUB_TIMEOUT_S)
    except Exception as error:  # the HTTP library's errors differ between versions; a cached copy may still do
        problem = error
    try:
        path = _snapshot(model, model.variant, cached=problem is not None)
        if any(not weight_files(path, part, model.variant) for part in STEMS):
            path = _snapshot(model, None, cached=problem is not None)  # parts without that variant
    except Exception as error:
        raise ConfigError(f"{_what_is_missing(model, problem or error)}\n{HERE_WORKS}") from error
    return path


def _snapshot(model: ModelConfig, variant: str | None, *, cached: bool) -> Path:
    suffix = f".{variant}" if variant else ""
    weights = [
        f"{part}/{stem}{middle}.safetensors"
        for part, stem in STEMS.items()
        for middle in (suffix, f"-*-of-*{suffix}", f"{suffix}-*-of-*")
    ]
    found = huggingface_hub.snapshot_download(
        model.path,
        revision=model.revision,
        allow_patterns=[*SMALL_FILES, *weights],
        ignore_patterns=["safety_checker/*", "feature_extractor/*"],
        etag_timeout=HUB_TIMEOUT_S,
        local_files_only=cached,
    )
    return Path(found)


def _what_is_missing(model: ModelConfig, error: Exception) -> str:
    name = f"model.path={model.path}"
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: accept its licence at https://huggingface.co/{model.path}, then set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {model.revision} on the Hub"
    if isinstance(error, RepositoryNotFoundError):
        return f"{name} is neither a directory here nor a model of the Hub that you may read"
    reason = (str(error) or type(error).__name__).splitlines()[0][:100]
    return f"{name} is not on this machine, and the Hub cannot be reached ({reason})"


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.path: {file} cannot be read: {error}") from error
    return values if isinstance(values, dict) else {}
