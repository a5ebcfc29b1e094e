"""Where the base model lies: a directory, a single file, or the Hub's cache after a download of only what is needed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from emote.config import ModelConfig
from emote.models.single_file import PUBLISHED, SUFFIXES, OneFile
from emote.models.supported import check_supported, read_config
from emote.models.weights import STEMS, VARIANTS, weight_files, weighted_parts
from emote.util.errors import ConfigError
from emote.util.hints import of_address
from emote.util.places import TRAIN, bundled

HERE_WORKS = f"here works: {TRAIN} experiment=quickstart"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
HUB_TIMEOUT_S = 5.0
SMALL_FILES = ("model_index.json", "*/*.json", "tokenizer/*.txt", "tokenizer_2/*.txt")
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PARTS_XL = (*PARTS, "text_encoder_2", "tokenizer_2")


def locate(model: ModelConfig) -> Path:
    """Return the directory of the base model that `model.path` names, checked to be one that can be trained.

    A relative path is looked up from the working directory, then among what comes with emote; what is no directory is
    taken for a Hub name, and only its configurations and safetensors weights are downloaded (`revision`, `variant`).
    For a single file the directory is that of its configuration (`model.config`, or SD 1.5's), as a `OneFile`.
    Raises ConfigError, of at most two lines, where it is not to be had or is another kind of model.
    """
    if found := _on_this_machine(model.path):
        base = found if found.is_dir() else OneFile.of(_configuration(model), found)
        return check(base, model.variant, model.path)
    if address := of_address("model.path", model.path):
        raise ConfigError(address)
    if model.path.endswith(SUFFIXES):
        raise ConfigError(f"model.path={model.path}: there is no such file here\n{HERE_WORKS}")
    if not HUB_NAME.fullmatch(model.path):
        raise ConfigError(f"model.path={model.path} is neither a directory here nor a Hub name\n{HERE_WORKS}")
    return check(_from_hub(model), model.variant, model.path)


def with_tokenizer(model: ModelConfig) -> Path:
    """Return a directory with the tokenizer of the base model; where the model is not on this machine, with SD 1.5's.

    All Stable Diffusions with CLIP read the same tokens.
    """
    found = _on_this_machine(model.path)
    return found if found and (found / "tokenizer").is_dir() else PUBLISHED / "sd15"


def _on_this_machine(path: str) -> Path | None:
    for candidate in (Path(path).expanduser(), bundled(path)):
        if candidate.is_dir() or candidate.is_file():
            return candidate.resolve()
    return None


def _configuration(model: ModelConfig) -> Path:
    """The directory with the configuration and the tokenizer of a single file."""
    if model.config is None:
        return PUBLISHED / "sd15"
    if found := _on_this_machine(model.config):
        return found
    if not HUB_NAME.fullmatch(model.config):
        problem = f"model.config={model.config} is neither a directory here nor a Hub name"
        raise ConfigError(of_address("model.config", model.config) or problem)
    return _from_hub(replace(model, path=model.config, variant=None), "model.config", weights=False)


def check(path: Path, variant: str | None = None, name: str = "") -> Path:
    """Return `path`, if it is a Stable Diffusion that can be trained, in diffusers' layout with safetensors weights.

    name: what the user calls it. Else raises ConfigError, with the reason.
    """
    if not (path / "model_index.json").is_file():
        files = sorted(path.glob("*.safetensors"))
        hint = f"; for the single file in it set model.path={files[0]}" if files else ""
        raise ConfigError(f"model.path: {path} is not a diffusers model: it has no model_index.json{hint}")
    kind = str(read_config(path / "model_index.json").get("_class_name", ""))
    if not kind.startswith("StableDiffusion") or "StableDiffusion3" in kind:
        raise ConfigError(f"model.path: {path} is a {kind or 'pipeline of no known kind'}, not a Stable Diffusion")
    lacking = [part for part in (PARTS_XL if "XL" in kind else PARTS) if not (path / part).is_dir()]
    if "XL" in kind and "text_encoder" in lacking:
        raise ConfigError(f"model.path: {path} is XL's refiner, which finishes images; use the base model")
    if lacking:
        raise ConfigError(f"model.path: {path} lacks {', '.join(lacking)}")
    unweighted = [part for part in weighted_parts(path) if not weight_files(path, part, variant)]
    if unweighted:
        raise ConfigError(f"model.path: {path} has no safetensors weights for {', '.join(unweighted)}")
    channels = read_config(path / "unet" / "config.json").get("in_channels", 4)
    latent_channels = read_config(path / "vae" / "config.json").get("latent_channels", 4)
    if channels != latent_channels:
        what = "an inpainting model" if channels == latent_channels * 2 + 1 else "made for other inputs"
        raise ConfigError(f"model.path: {path} is {what} (its UNet has {channels} input channels); use the base model")
    check_supported(path, "" if isinstance(path, OneFile) else name)
    return path


def _from_hub(model: ModelConfig, key: str = "model.path", *, weights: bool = True) -> Path:
    # asked first, because this request has a timeout and no retries
    problem: Exception | None = None
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        huggingface_hub.HfApi().model_info(model.path, revision=model.revision, timeout=HUB_TIMEOUT_S)
    except Exception as error:  # the HTTP library's errors differ between versions; a cached copy may still do
        problem = error
    try:
        if not weights:
            return _snapshot(model, [], cached=problem is not None)
        for variant in dict.fromkeys((model.variant, None, *VARIANTS)):  # some parts, or models, have another one alone
            path = _snapshot(model, _weight_patterns(variant), cached=problem is not None)
            if all(weight_files(path, part, model.variant) for part in weighted_parts(path)):
                break
    except Exception as error:
        missing = _what_is_missing(f"{key}={model.path}", model, problem or error)
        raise ConfigError(f"{missing}\n{HERE_WORKS}") from error
    return path


def _weight_patterns(variant: str | None) -> list[str]:
    suffix = f".{variant}" if variant else ""
    return [
        f"{part}/{stem}{middle}.safetensors"
        for part, stem in STEMS.items()
        for middle in (suffix, f"-*-of-*{suffix}", f"{suffix}-*-of-*")
    ]


def _snapshot(model: ModelConfig, weights: list[str], *, cached: bool) -> Path:
    found = huggingface_hub.snapshot_download(
        model.path,
        revision=model.revision,
        allow_patterns=[*SMALL_FILES, *weights],
        ignore_patterns=["safety_checker/*", "feature_extractor/*"],
        etag_timeout=HUB_TIMEOUT_S,
        local_files_only=cached,
    )
    return Path(found)


def _what_is_missing(name: str, model: ModelConfig, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: accept its licence at https://huggingface.co/{model.path}, then set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {model.revision} on the Hub"
    if isinstance(error, RepositoryNotFoundError):
        return f"{name} is neither a directory here nor a model of the Hub that you may read"
    reason = (str(error) or type(error).__name__).splitlines()[0][:100]
    return f"{name} is not on this machine, and the Hub cannot be reached ({reason})"
