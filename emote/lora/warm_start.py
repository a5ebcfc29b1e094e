"""Start from an adapter that exists, whoever wrote its file, instead of from a random one (`lora.init_from`).

Its layers of the UNet are trained further. Those of text encoders are not trained, and stay as they are: captions are
encoded with them, and they are part of what the run delivers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from emote.config import TARGET_PRESETS, LoraConfig
from emote.lora.adapter import (
    NAME,
    effective_alpha,
    linear_modules,
    load_adapter_state,
    tail,
    target_names,
    trainable,
)
from emote.util.errors import ConfigError
from emote.util.hints import listed, of_address

if TYPE_CHECKING:
    from emote.lora.adapter_file import AdapterFile, Layer

FEW = 8  # modules that are named one by one


def start_file(lora: LoraConfig) -> Path | None:
    """The file that `lora.init_from` names, itself or by its directory. Raises ConfigError where there is none."""
    if lora.init_from is None:
        return None
    from emote.lora.adapter_file import find_adapter_file  # late: most runs start from a random adapter

    path = Path(lora.init_from).expanduser()
    try:
        file = find_adapter_file(path)
    except ConfigError as error:
        raise ConfigError(f"lora.init_from: {error}") from error
    if file is None:
        problem = f"lora.init_from must name an adapter file, got {lora.init_from}, where none is"
        raise ConfigError(of_address("lora.init_from", lora.init_from, hub=False) or problem)
    return file.resolve()


def warm_start_key(lora: LoraConfig) -> dict[str, str]:
    """Return what the start adds to a run's identity: the file's content, wherever it lies; nothing without one."""
    file = start_file(lora)
    if file is None:
        return {}
    opened, digest = _opened(file), hashlib.sha256()
    for one in opened.files:
        digest.update(one.read_bytes())
    if opened.beside:
        digest.update(json.dumps(opened.described, sort_keys=True).encode())
    return {"lora.init_from": digest.hexdigest()}


def adapts_text(lora: LoraConfig) -> bool:
    """Return whether the start has layers of text encoders, so that captions are encoded otherwise than by the base."""
    file = start_file(lora)
    return file is not None and any(part != "unet" for part in _opened(file).parts())


def text_encoder_key(lora: LoraConfig, base: str, scale: float = 1.0) -> str:
    """Return what identifies the text encoders that captions are encoded with. base: the base model's own key.

    scale: of the start's layers of text encoders; 0 for the base model's own.
    """
    if not scale or not adapts_text(lora):
        return base
    return f"{base}+{warm_start_key(lora)['lora.init_from']}" + (f"@{scale!r}" if scale != 1 else "")


def adapt_text(encoders: Mapping[str, nn.Module], lora: LoraConfig, scale: float = 1.0) -> None:
    """Change text encoders (by their names in a pipeline) as the start does, where it does and `scale` is not 0.

    Raises ConfigError where its layers do not fit.
    """
    file = start_file(lora)
    if file is None or not scale or not adapts_text(lora):
        return
    from emote.lora.loading import put_layers

    layers = {n: layer for n, layer in _opened(file).load().layers.items() if not n.startswith("unet.")}
    put_layers(encoders, {n: replace(layer, alpha=layer.alpha * scale) for n, layer in layers.items()}, file)


def warm_start(unet: nn.Module, lora: LoraConfig) -> dict[str, Layer]:
    """Give the attached adapter the weights of the file that `lora.init_from` names, in the adapter's own dtype.

    Returns the file's layers of text encoders. Raises ConfigError, with everything that differs and what to say
    instead, where rank, alpha or targets are others than those of `lora`, or the file was made for another base model.
    Nothing has changed then.
    """
    file = start_file(lora)
    if file is None:
        return {}
    layers = _opened(file).load().layers
    own = {name.removeprefix("unet."): layer for name, layer in layers.items() if name.startswith("unet.")}
    wanted = trainable(unet)
    mistakes = _differences(own, unet, wanted, lora)
    if mistakes:
        raise ConfigError("\n".join(f"lora.init_from: {file.name} {line}" for line in mistakes))
    state = {}
    for name, layer in own.items():
        state[f"{name}.lora_A.{NAME}.weight"], state[f"{name}.lora_B.{NAME}.weight"] = layer.down, layer.up
        if layer.magnitude is not None:
            state[f"{name}.lora_magnitude_vector.{NAME}.weight"] = layer.magnitude
    wrong = [name for name, tensor in state.items() if name in wanted and wanted[name].shape != tensor.shape]
    if wrong:
        raise ConfigError(f"lora.init_from: {file.name} was made for another base model ({wrong[0]} does not fit)")
    load_adapter_state(unet, state)
    return {name: layer for name, layer in layers.items() if not name.startswith("unet.")}


def _opened(file: Path) -> AdapterFile:
    from emote.lora.adapter_file import open_adapter

    opened = open_adapter(file)
    if opened.problem:
        raise ConfigError(f"lora.init_from: {file} {opened.problem}")
    return opened


def _differences(own: Mapping[str, Layer], unet: nn.Module, wanted: Iterable[str], lora: LoraConfig) -> list[str]:
    """own: the file's layers by the modules' names. wanted: the names of the parameters that are trained."""
    if not own:
        return ["adapts text encoders alone; what is trained here is the UNet's adapter"]
    found = []
    ranks = {layer.rank for layer in own.values()}
    if ranks != {lora.rank}:
        advice = f"set lora.rank={min(ranks)}" if len(ranks) == 1 else "only one rank can be trained"
        if lora.nested and len(ranks) == 1:
            advice += f", with lora.nested=[] or one that ends with {min(ranks)}"
        found.append(f"has rank {_listed(ranks)}, lora.rank is {lora.rank}; {advice}")
    is_dora = any(layer.magnitude is not None for layer in own.values())
    if is_dora != any(".lora_magnitude_vector." in name for name in wanted):
        found.append("is a DoRA; set lora.variant=dora" if is_dora else "is not a DoRA; set lora.variant=lora")
    alphas = {layer.alpha for layer in own.values()}
    # an alpha that follows the rank is put right with it
    follows = lora.alpha == lora.rank and alphas == ranks
    if alphas != {effective_alpha(lora)} and not follows:
        advice = f"set lora.alpha={min(alphas):g}" if len(alphas) == 1 else "only one alpha can be trained"
        found.append(f"has alpha {_listed(alphas)}, lora.alpha is {effective_alpha(lora):g}; {advice}")
    modules = {name.split(".lora_")[0] for name in wanted}
    if own.keys() != modules:
        found.append(_other_targets(set(own), modules, unet, lora))
    return found


def _other_targets(given: set[str], modules: set[str], unet: nn.Module, lora: LoraConfig) -> str:
    """What the file adapts beside what is asked for, and the `lora.targets=` that would be right, if there is one."""
    counts = f"adapts {len(given)} modules, lora.targets={_shown(target_names(lora), lora)} {len(modules)}"
    known = linear_modules(unet)
    if strange := sorted(given - set(known)):
        return f"{counts}; it was made for another base model, this one has no {listed(strange)}"
    for preset, targets in TARGET_PRESETS.items():
        if given == _matching(known, targets):
            return f"{counts}; set lora.targets={preset}"
    ends = sorted({tail(name) for name in given})
    if given == _matching(known, ends):
        return f"{counts}; set lora.targets=[{','.join(ends)}]"
    if len(given) <= FEW:
        return f"{counts}; set lora.targets=[{','.join(sorted(given))}]"
    return f"{counts}; they differ in {listed(sorted(given ^ modules))}, and no list of kinds of layers has just these"


def _matching(modules: Iterable[str], targets: Iterable[str]) -> set[str]:
    ends = tuple(f".{target}" for target in targets)
    return {name for name in modules if f".{name}".endswith(ends)}


def _shown(targets: list[str], lora: LoraConfig) -> str:
    return lora.targets if isinstance(lora.targets, str) else f"[{','.join(targets)}]"


def _listed(numbers: set[int] | set[float]) -> str:
    return " and ".join(f"{number:g}" for number in sorted(numbers))
