"""Start from an adapter that exists, whoever wrote its file, instead of from a random one (`lora.init_from`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from emote.config import TARGET_PRESETS, LoraConfig
from emote.lora.adapter import NAME, SHOWN, effective_alpha, load_adapter_state, target_names, trainable
from emote.util.errors import ConfigError

if TYPE_CHECKING:
    from emote.lora.adapter_file import Adapter


def start_file(lora: LoraConfig) -> Path | None:
    """The file that `lora.init_from` names, itself or by its directory. Raises ConfigError where there is none."""
    if lora.init_from is None:
        return None
    from emote.lora.formats import DIFFUSERS_FILE  # late: most runs start from a random adapter

    path = Path(lora.init_from).expanduser()
    file = path / DIFFUSERS_FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"lora.init_from must name an adapter file, got {lora.init_from}, where none is")
    return file.resolve()


def warm_start_key(lora: LoraConfig) -> dict[str, str]:
    """Return what the start adds to a run's identity: the file's content, wherever it lies; nothing without one."""
    file = start_file(lora)
    return {} if file is None else {"lora.init_from": hashlib.sha256(file.read_bytes()).hexdigest()}


def warm_start(unet: nn.Module, lora: LoraConfig) -> None:
    """Give the attached adapter the weights of the file that `lora.init_from` names, in the adapter's own dtype.

    Raises ConfigError, with everything that differs and what to say instead, where rank, alpha or targets are others
    than those of `lora`, or the file was made for another base model. Nothing has changed then.
    """
    file = start_file(lora)
    if file is None:
        return
    from emote.lora.adapter_file import read_adapter

    adapter = read_adapter(file)
    wanted = trainable(unet)
    mistakes = _differences(adapter, wanted, lora)
    if mistakes:
        raise ConfigError("\n".join(f"lora.init_from: {file.name} {line}" for line in mistakes))
    state = {}
    for name, layer in adapter.layers.items():
        module = name.removeprefix("unet.")
        state[f"{module}.lora_A.{NAME}.weight"], state[f"{module}.lora_B.{NAME}.weight"] = layer.down, layer.up
        if layer.magnitude is not None:
            state[f"{module}.lora_magnitude_vector.{NAME}.weight"] = layer.magnitude
    wrong = [name for name, tensor in state.items() if name in wanted and wanted[name].shape != tensor.shape]
    if wrong:
        raise ConfigError(f"lora.init_from: {file.name} was made for another base model ({wrong[0]} does not fit)")
    load_adapter_state(unet, state)


def _differences(adapter: Adapter, wanted: Iterable[str], lora: LoraConfig) -> list[str]:
    if any(not name.startswith("unet.") for name in adapter.layers):
        return ["adapts the text encoder too, which is not trained here"]
    found = []
    ranks = {layer.rank for layer in adapter.layers.values()}
    if ranks != {lora.rank}:
        advice = f"set lora.rank={min(ranks)}" if len(ranks) == 1 else "only one rank can be trained"
        found.append(f"has rank {_listed(ranks)}, lora.rank is {lora.rank}; {advice}")
    if adapter.is_dora != any(".lora_magnitude_vector." in name for name in wanted):
        found.append("is a DoRA; set lora.variant=dora" if adapter.is_dora else "is not a DoRA; set lora.variant=lora")
    alphas = {layer.alpha for layer in adapter.layers.values()}
    # an alpha that follows the rank is put right with it
    follows = lora.alpha == lora.rank and alphas == ranks
    if alphas != {effective_alpha(lora)} and not follows:
        advice = f"set lora.alpha={min(alphas):g}" if len(alphas) == 1 else "only one alpha can be trained"
        found.append(f"has alpha {_listed(alphas)}, lora.alpha is {effective_alpha(lora):g}; {advice}")
    given = {name.removeprefix("unet.") for name in adapter.layers}
    modules = {name.split(".lora_")[0] for name in wanted}
    if given != modules:
        found.append(_other_targets(given, modules, lora))
    return found


def _other_targets(given: set[str], modules: set[str], lora: LoraConfig) -> str:
    counts = f"adapts {len(given)} modules, lora.targets={_shown(target_names(lora), lora)} {len(modules)}"
    used = {target for target in TARGET_PRESETS["all"] if any(name.endswith(f".{target}") for name in given)}
    preset = next((name for name, targets in TARGET_PRESETS.items() if used == set(targets)), None)
    if preset and preset != lora.targets:
        return f"{counts}; set lora.targets={preset}"
    apart = sorted(given ^ modules)
    return f"{counts}; they differ in {', '.join(apart[:SHOWN])}{', …' if len(apart) > SHOWN else ''}"


def _shown(targets: list[str], lora: LoraConfig) -> str:
    return lora.targets if isinstance(lora.targets, str) else f"[{','.join(targets)}]"


def _listed(numbers: set[int] | set[float]) -> str:
    return " and ".join(f"{number:g}" for number in sorted(numbers))
