"""What a base model needs beyond what is done here, told by its configuration and headers before a weight is read.

Trained and drawn is a UNet that predicts ε or v on a schedule of betas, from the words of CLIP's text encoders (and of
XL's sizes), on latents that are an AutoencoderKL's times one factor. A model that needs more would be trained wrongly
without a word, or end in a traceback.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from emote.models.conditioning import TIME_IDS, is_packed
from emote.util.errors import ConfigError
from emote.util.tensor_file import Header

# the schedulers whose configuration holds the betas that the model was trained with
SCHEDULERS = (
    "DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete",
    "HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep",
    "DPMSolverSDE", "DEISMultistep", "UniPCMultistep", "SASolver",
)  # fmt: skip
BETA_SCHEDULES = (None, "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
PREDICTIONS = (None, "epsilon", "v_prediction")
# a UNet's setting → what it wants to be told beside latents, noise level and words
MORE_INPUTS = {
    "class_embed_type": "class labels or an image's embedding", "num_class_embeds": "class labels",
    "encoder_hid_dim": "another encoder's embedding", "encoder_hid_dim_type": "another encoder's embedding",
}  # fmt: skip
DISTILLED = re.compile(r"(?<![a-z])(turbo|lightning|lcm|hyper[-_ ]?sd(xl)?|dmd2?)(?![a-z])")
WITHOUT_GUIDANCE = (
    "it draws in a few steps without guidance, which is neither trained nor drawn with here; use the model that it was "
    "made from"
)
# names of empty tensors that say how a single file was trained (as ComfyUI reads them)
MARKS: dict[str, dict[str, Any]] = {
    "v_pred": {"prediction_type": "v_prediction"},
    "ztsnr": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
}
GUIDANCE_INPUT = re.compile(r"model\.diffusion_model\.time_embed\w*\.cond_proj\.weight")
EDM_MARKS = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")
log = logging.getLogger(__name__)


def check_supported(path: Path, name: str) -> None:
    """Raises ConfigError, with the reason, for a directory whose model needs what is not done here.

    path: in diffusers' layout, all parts there. name: what the user calls it, which alone refuses nothing.
    """
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    configs = {part: read_config(path / part / "config.json") for part in parts if (path / part).is_dir()}
    scheduler = read_config(path / "scheduler" / "scheduler_config.json")
    unet, vae = configs["unet"], configs["vae"]
    encoders = [_text_config(configs[part]) for part in parts[2:] if part in configs]
    checks = (
        _of_unet(unet, vae), _of_text(unet, encoders), _of_vae(vae), _of_scheduler(scheduler),
        _of_distillation(unet, scheduler), _of_tokenizers(path, encoders),
    )  # fmt: skip
    if problem := next((found for check in checks for found in check), None):
        raise ConfigError(f"model.path: {path} {problem}")
    _advise(Path(name).name)


def check_single_file(file: Path, header: Header, configuration: Path, kind: str) -> None:
    """Raises ConfigError, with the reason, for a single file whose model needs what is not done here.

    configuration: the directory that is taken for its parts' configuration. kind: diffusers' name of its version.
    """
    name = f"model.path: {file}"
    if marks := [mark for mark in EDM_MARKS if mark in header.shapes]:
        raise ConfigError(
            f"{name} was trained by EDM ({marks[0]}), whose noise levels are not those that are drawn here"
        )
    if kind != "xl_base" and any(key.startswith("model.diffusion_model.label_emb.") for key in header.shapes):
        raise ConfigError(
            f"{name} has a UNet that also reads {MORE_INPUTS['class_embed_type']}; use a plain base model"
        )
    if any(GUIDANCE_INPUT.fullmatch(key) for key in header.shapes):
        raise ConfigError(f"{name} {next(_of_distillation({'time_cond_proj_dim': 'told'}, {}))}")
    told = [header.metadata.get(f"modelspec.{key}", "") for key in ("architecture", "title")]
    if told[1] in (header.metadata.get("ss_output_name"), file.stem):
        del told[1]  # what somebody called it
    if found := DISTILLED.search(" ".join(told).lower()):
        raise ConfigError(f"{name} is a distilled model ({found[0]}, as its header says): {WITHOUT_GUIDANCE}")
    _advise(file.stem)
    if (configuration / "text_encoder_2").is_dir() != (kind == "xl_base"):
        what = "a Stable Diffusion XL" if kind == "xl_base" else "no XL"
        raise ConfigError(f"{name} is {what}, and the configuration in {configuration} is of another version; "
                          "set model.config to its own")  # fmt: skip
    wanted = _widths(read_config(configuration / "unet" / "config.json"))
    ends = ".attn2.to_k.weight"
    found_widths = {shape[1] for key, (_, shape) in header.shapes.items() if key.endswith(ends) and len(shape) == 2}
    if found_widths and wanted and found_widths != wanted:
        raise ConfigError(
            f"{name} reads text of width {_joined(found_widths)}, and the configuration in {configuration} says "
            f"{_joined(wanted)}; set model.config to its own"
        )


def marks_of(header: Header) -> dict[str, Any]:
    """Return what a single file's markers say of the schedule, as a scheduler's settings."""
    return {key: value for mark, told in MARKS.items() if mark in header.shapes for key, value in told.items()}


def _of_unet(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> Iterator[str]:
    kind = unet.get("_class_name") or "UNet2DConditionModel"
    if kind != "UNet2DConditionModel":
        yield f"has a {kind} for its UNet; a UNet2DConditionModel is needed"
    for key, what in MORE_INPUTS.items():
        if unet.get(key) is not None:
            yield f"has a UNet that also reads {what} ({key}={unet[key]}); use a plain base model"
    if unet.get("addition_embed_type") not in (None, "text_time"):
        yield f"has a UNet that also reads addition_embed_type={unet['addition_embed_type']}; use a plain base model"
    latents = vae.get("latent_channels", 4)
    if unet.get("out_channels", 4) != latents:
        yield f"has a UNet that predicts {unet['out_channels']} channels of latents that have {latents}"


def _of_text(unet: Mapping[str, Any], encoders: list[dict[str, Any]]) -> Iterator[str]:
    for encoder in encoders:
        kind = str(encoder.get("model_type") or "clip_text_model")
        if not kind.startswith("clip"):
            yield f"has a text encoder of the kind {kind}; CLIP's are read"
    if is_packed(unet) != (len(encoders) == 2):
        needs = "two text encoders" if is_packed(unet) else "one text encoder"
        yield f"has {len(encoders)} of them, and a UNet that reads {needs}"
    widths, given = _widths(unet), sum(int(encoder.get("hidden_size", 512)) for encoder in encoders)
    if widths and widths != {given}:
        yield f"has a UNet that reads text of width {_joined(widths)}, and text encoders that give {given}"
    if is_packed(unet) and len(encoders) == 2:
        total, each = unet.get("projection_class_embeddings_input_dim"), unet.get("addition_time_embed_dim")
        pooled = encoders[1].get("projection_dim", 512)
        if total is None or each is None or total - TIME_IDS * each != pooled:
            yield f"has a UNet that does not read a pooled text embedding of width {pooled} and {TIME_IDS} sizes"


def _of_vae(vae: Mapping[str, Any]) -> Iterator[str]:
    kind = vae.get("_class_name") or "AutoencoderKL"
    if kind != "AutoencoderKL":
        yield f"has an {kind} for its autoencoder; an AutoencoderKL is needed (in vae/)"
    for key in ("latents_mean", "latents_std", "shift_factor"):
        if vae.get(key):
            yield f"has an autoencoder whose latents are also shifted ({key}), not by one factor alone"
    channels = (vae.get("in_channels", 3), vae.get("out_channels", 3))
    if channels != (3, 3):
        yield f"has an autoencoder of {channels[0]} channels in and {channels[1]} out; RGB is read"


def _of_scheduler(scheduler: Mapping[str, Any]) -> Iterator[str]:
    kind = str(scheduler.get("_class_name") or "DDPMScheduler")
    if "EDM" in kind:
        yield f"was trained by EDM ({kind}), whose noise levels are not those that are drawn here"
    elif "Flow" in kind or scheduler.get("use_flow_sigmas") or scheduler.get("prediction_type") == "flow_prediction":
        yield f"was trained by flow matching ({kind}), which is another objective"
    elif kind.removesuffix("Scheduler") in ("LCM", "TCD"):
        yield f"is a distilled model ({kind}): {WITHOUT_GUIDANCE}"
    elif kind.removesuffix("Scheduler") not in SCHEDULERS:
        yield f"has a {kind}, of which it is not known which noise the model was trained with"
    if scheduler.get("prediction_type") not in PREDICTIONS:
        yield f"predicts {scheduler['prediction_type']}; epsilon and v_prediction can be trained and drawn"
    if scheduler.get("trained_betas") is None and scheduler.get("beta_schedule") not in BETA_SCHEDULES:
        yield f"has beta_schedule={scheduler['beta_schedule']}, which is none of those that are known"


def _of_distillation(unet: Mapping[str, Any], scheduler: Mapping[str, Any]) -> Iterator[str]:
    if unet.get("time_cond_proj_dim") is not None:
        yield f"is a distilled model (its UNet is told the guidance, as LCM's are): {WITHOUT_GUIDANCE}"
    kind, spacing = str(scheduler.get("_class_name")), scheduler.get("timestep_spacing")
    plain = scheduler.get("prediction_type") in (None, "epsilon") and not scheduler.get("rescale_betas_zero_snr")
    if kind.startswith("Euler") and spacing == "trailing" and plain:
        yield (
            f"is a distilled model (its {kind} has timestep_spacing=trailing, as the turbo models' have; set leading "
            f"there if it is not): {WITHOUT_GUIDANCE}"
        )


@cache  # a model is looked at several times
def _advise(name: str) -> None:
    if found := DISTILLED.search(name.lower()):
        log.warning(
            "model.path: %s is called as distilled models are (%s), and its files do not say that it is one; if it "
            "draws in a few steps without guidance, use the model that it was made from: it would be trained wrongly",
            name,
            found[0],
        )


def _of_tokenizers(path: Path, encoders: list[dict[str, Any]]) -> Iterator[str]:
    for part, encoder in zip(("tokenizer", "tokenizer_2"), encoders, strict=False):
        folder = path / part
        if not (folder / "tokenizer.json").is_file() and not all(
            (folder / file).is_file() for file in ("vocab.json", "merges.txt")
        ):
            yield f"lacks {part}/vocab.json and merges.txt, or {part}/tokenizer.json"
        if not (folder / "tokenizer_config.json").is_file():
            yield f"lacks {part}/tokenizer_config.json, which says how many tokens a caption has"
            continue
        length, room = (
            read_config(folder / "tokenizer_config.json").get("model_max_length"),
            encoder.get("max_position_embeddings", 77),
        )
        if not isinstance(length, int) or not 2 < length <= room:
            yield f"has {part}/tokenizer_config.json with model_max_length={length}, and room for {room} tokens"


def _widths(unet: Mapping[str, Any]) -> set[int]:
    width = unet.get("cross_attention_dim", 1280)
    return set(width) if isinstance(width, list) else {width}


def _joined(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")  # of a whole CLIP
    return config | inner if isinstance(inner, dict) else config


def read_config(file: Path) -> dict[str, Any]:
    """Return a part's configuration; {} where it is no table. Raises ConfigError where it cannot be read."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"model.path: {file} cannot be read: {error}") from error
    return values if isinstance(values, dict) else {}
