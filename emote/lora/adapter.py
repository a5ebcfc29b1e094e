"""The LoRA adapter on the UNet: attach it, name what it trains, take its state out and put it back.

Low-rank adaptation is from Hu et al., arXiv 2106.09685: W x + (alpha / rank) B A x, with B zero at the start.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import peft
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from emote.config import TARGET_PRESETS, VARIANT, AdapterDtype, Init, LoraConfig
from emote.lora.peft_partner import check_torchao
from emote.util.errors import ConfigError

NAME = "default"
DTYPES = {AdapterDtype.float32: torch.float32, AdapterDtype.bfloat16: torch.bfloat16}
SHOWN = 3  # names in a message


def target_names(lora: LoraConfig) -> list[str]:
    """The module names that `lora.targets` asks for, as plain strings (an OmegaConf list could not be reloaded)."""
    if isinstance(lora.targets, str):
        if lora.targets not in TARGET_PRESETS:
            raise ConfigError(f"lora.targets must be one of {', '.join(TARGET_PRESETS)} or a list, got {lora.targets}")
        return list(TARGET_PRESETS[lora.targets])
    return [str(name) for name in lora.targets]


def attach(unet: UNet2DConditionModel, lora: LoraConfig) -> list[str]:
    """Freeze the UNet, add the adapter `default` to it, and return the sorted names of its parameters.

    A is drawn in float32 from (lora.seed, module name) alone: neither torch's random state, nor the dtype or device
    of the frozen weights, nor which other modules are targets changes it; nor does the call change torch's state.
    The mode stays as it is (`eval` from the loaders): LoRA dropout acts after `unet.train()`.
    Raises ConfigError for targets that match no Linear or Conv2d, with the nearest names (peft accepts them silently).
    """
    check_torchao()
    targets = target_names(lora)
    _check_targets(unet, targets)
    unet.requires_grad_(False)
    config = peft.LoraConfig(
        r=int(lora.rank),
        lora_alpha=lora.alpha,  # any number works, and 0.5 is one
        lora_dropout=float(lora.dropout),
        target_modules=targets,
        init_lora_weights="gaussian" if lora.init is Init.gaussian else True,
        **_variant_settings(lora),
    )
    was_training = unet.training
    with torch.random.fork_rng(devices=[]):  # peft draws on the CPU, and only to be overwritten below
        unet.add_adapter(config, adapter_name=NAME)
    unet.train(was_training)
    found = trainable(unet)
    for name, parameter in found.items():
        # peft took over the dtype of the frozen weights
        parameter.data = parameter.data.to(DTYPES[lora.dtype])
        if ".lora_A." in name:
            parameter.data.copy_(_initial(name, parameter.shape, lora))
    learns = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert learns == set(found), f"frozen weights must not learn: {sorted(learns ^ set(found))[:SHOWN]}"
    return sorted(found)


def trainable(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the UNet, sorted; found by name, so they show while disabled too.

    Of each layer A and B, and of a DoRA the magnitudes.
    """
    named = {name: parameter for name, parameter in unet.named_parameters() if f".{NAME}.weight" in name}
    kinds = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")
    return {name: named[name] for name in sorted(named) if any(kind in name for kind in kinds)}


def effective_alpha(lora: LoraConfig) -> float:
    """Return the alpha with which a plain LoRA computes the same: files say this one."""
    return lora.alpha * math.sqrt(lora.rank) if _variant_settings(lora).get("use_rslora") else float(lora.alpha)


def _variant_settings(lora: LoraConfig) -> dict[str, Any]:
    return VARIANT.make(lora.variant, lora.options)(lora)


def adapter_state(unet: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the adapter's weights on the CPU, in their own dtype, under the names of `trainable`."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in trainable(unet).items()}


def load_adapter_state(unet: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put back what `adapter_state` took out. Raises ConfigError, before anything changes, where it does not fit."""
    parameters = trainable(unet)
    complaints = [
        *_complaint("lacks", sorted(parameters.keys() - state.keys())),
        *_complaint("has unknown", sorted(state.keys() - parameters.keys())),
        *_complaint(
            "has other shapes for",
            [n for n in sorted(parameters.keys() & state.keys()) if parameters[n].shape != state[n].shape],
        ),
    ]
    if complaints:
        raise ConfigError(f"the adapter does not fit this model and these lora settings: it {'; '.join(complaints)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


@contextmanager
def adapter_scaled(unet: nn.Module, scale: float) -> Iterator[None]:
    """Within, the adapter's output is multiplied by `scale`; afterwards it acts as trained."""
    layers = [module for module in unet.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.set_scale(NAME, scale)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_scale(NAME, 1.0)


@contextmanager
def without_adapter(unet: nn.Module) -> Iterator[None]:
    """Within, the part computes what the base model's does, bit for bit; afterwards the adapter acts as before."""
    layers = [module for module in unet.modules() if isinstance(module, BaseTunerLayer)]
    # peft's switch also turns gradients off, and on again for every adapter that is active
    before = {name: parameter.requires_grad for name, parameter in trainable(unet).items()}
    active = [not layer.disable_adapters for layer in layers]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer, was_active in zip(layers, active, strict=True):
            layer.enable_adapters(was_active)
        for name, parameter in trainable(unet).items():
            parameter.requires_grad_(before[name])


def _initial(name: str, shape: torch.Size, lora: LoraConfig) -> torch.Tensor:
    """A at the start, float32 on the CPU: normal of standard deviation 1 / rank, or peft's Kaiming uniform.

    Of nested ranks a component starts as in a separate run of the smallest rank that has it.
    """
    key = hashlib.sha256(f"{lora.seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
    weight = torch.empty(shape)
    if lora.init is Init.gaussian:
        nn.init.normal_(weight, std=1 / lora.rank, generator=generator)
        for smaller, rank in pairwise([0, *lora.nested]):
            weight[smaller:rank] *= lora.rank / rank
        return weight
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)


def linear_modules(unet: nn.Module) -> list[str]:
    """Return the names of all modules that can be targets, adapted or not."""
    found = [name for name, module in unet.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d, LoraLayer))]
    return [name for name in found if ".lora_" not in name and not name.endswith(".base_layer")]


def _check_targets(unet: nn.Module, targets: list[str]) -> None:
    modules = linear_modules(unet)
    known = sorted({name for names in TARGET_PRESETS.values() for name in names} | {tail(name) for name in modules})
    complaints = []
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            near = difflib.get_close_matches(target, known, n=SHOWN, cutoff=0.5)
            complaints.append(f"{target} (nearest: {', '.join(near)})" if near else target)
    if complaints:
        raise ConfigError(f"lora.targets names what no layer of this UNet is called: {'; '.join(complaints)}")


def tail(name: str) -> str:
    """Return the end of a module's name from its last word on: `to_out.0` of `….attn1.to_out.0`."""
    parts = name.split(".")
    start = len(parts) - 1
    while start > 0 and parts[start].isdigit():
        start -= 1
    return ".".join(parts[start:])


def _complaint(what: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{what} {', '.join(names[:SHOWN])}{more}"
