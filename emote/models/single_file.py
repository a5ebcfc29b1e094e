"""Stable Diffusion in one .safetensors file, as CivitAI has them, through diffusers' own single-file loader.

Such a file holds weights alone. What they are weights of, and the tokenizer, stand in a directory of diffusers' layout:
`published/sd15`, or the one that `model.config` names.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from emote.models.supported import check_single_file, marks_of
from emote.util.errors import ConfigError
from emote.util.tensor_file import Header, look

PUBLISHED = Path(__file__).resolve().parent / "published"
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")  # of what somebody means as a single file
# part → how the names of its weights begin
PREFIXES = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),  # XL alone
}


class OneFile(type(Path())):  # type: ignore[misc]
    """The directory of a base model's configuration and tokenizer, whose weights lie in one file elsewhere.

    schedule: what the file's own markers say of the noise it was trained with, as a scheduler's settings.
    """

    file: Path
    schedule: dict[str, Any]

    @classmethod
    def of(cls, configuration: Path, file: Path) -> OneFile:
        """Both paths, once the file's header says that its weights are of such a model; else raises ConfigError."""
        header = look(file)
        check(file, header, configuration)
        base = cls(configuration)
        base.file, base.schedule = file, marks_of(header)
        return base


def check(file: Path, header: Header, configuration: Path) -> None:
    """Raises ConfigError for what is no Stable Diffusion with all of its parts, without reading a weight.

    configuration: where it is SD 1.5's, which is taken where none is named, other versions are refused.
    """
    shapes, published = header.shapes, configuration.parent == PUBLISHED
    name = f"model.path: {file}"
    if any("lora" in key for key in shapes):
        raise ConfigError(f"{name} is an adapter, not a base model; set lora.init_from={file} to start from it")
    if not any(key.startswith(PREFIXES["unet"]) for key in shapes):
        raise ConfigError(f"{name} is not a Stable Diffusion checkpoint: no weight in it begins {PREFIXES['unet'][0]}")
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type  # late: it takes a second to import

    kind = infer_diffusers_model_type({key: torch.empty(shape, device="meta") for key, (_, shape) in shapes.items()})
    if "inpaint" in kind:
        raise ConfigError(f"{name} is an inpainting model; use the base model")
    if kind == "xl_base" and published:
        raise ConfigError(
            f"{name} is a Stable Diffusion XL\n"
            "set where its configuration lies: model.config=stabilityai/stable-diffusion-xl-base-1.0, or a directory"
        )
    if kind == "xl_refiner":
        raise ConfigError(f"{name} is XL's refiner, which finishes images; use the base model")
    if kind == "v2" and published:
        raise ConfigError(
            f"{name} is a Stable Diffusion 2, of which there are kinds that the file does not tell apart\n"
            "set whose configuration it has: model.config=<a diffusers directory or a Hub name>"
        )
    if kind not in ("v1", "v2", "xl_base"):
        raise ConfigError(f"{name} is a model of another kind ({kind}), not a Stable Diffusion 1.5, 2 or XL")
    wanted = [part for part in PREFIXES if part != "text_encoder_2" or kind == "xl_base"]
    lacking = [part for part in wanted if not any(key.startswith(PREFIXES[part]) for key in shapes)]
    if lacking:
        raise ConfigError(
            f"{name} lacks {' and '.join(lacking)}; use the version of it that has them, or a diffusers directory"
        )
    check_single_file(file, header, configuration, kind)


def load_part(kind: Any, base: OneFile, part: str, dtype: torch.dtype) -> nn.Module:
    """Return a part of the model in `dtype`, in eval mode; each weight is converted as it is read, so no copy is made.

    Raises what diffusers raises, and ValueError for weights that are not there.
    """
    weights = read_part(base.file, part)
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

    if kind in (CLIPTextModel, CLIPTextModelWithProjection):
        model = create_diffusers_clip_model_from_ldm(
            kind, weights, subfolder=part, config=str(base), torch_dtype=dtype, local_files_only=True
        )
    else:
        model = kind.from_single_file(
            weights, config=str(base), subfolder=part, torch_dtype=dtype, local_files_only=True
        )
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing:
        raise ValueError(f"{base.file} lacks {len(missing)} of its weights, such as {missing[0]}")
    return model.eval()


def read_part(file: Path, part: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one part under the file's own names, memory-mapped."""
    with safe_open(str(file), framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys() if name.startswith(PREFIXES[part])}  # noqa: SIM118


def hash_part(file: Path, part: str) -> str:
    """Return SHA-256 (hex) of the names, types, shapes and bytes of one part's tensors."""
    digest = hashlib.sha256()
    weights = read_part(file, part)
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
