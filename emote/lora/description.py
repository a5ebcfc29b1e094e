"""peft's settings of an adapter: in the header of diffusers' files, and in `adapter_config.json` beside peft's own.

They hold alpha, without which an adapter has another strength; and they say what else peft would do with the layers, of
which plain LoRA, rank-stabilised LoRA and DoRA are understood here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from emote.lora.layer_names import PARTS, layer_name
from emote.util.errors import ConfigError
from emote.util.hints import listed

LORA_ADAPTER_METADATA_KEY = "lora_adapter_metadata"  # as diffusers.loaders.lora_base, which takes seconds to import
PEFT_CONFIG = "adapter_config.json"
# peft's setting → what it does, for those that change a layer in ways that are not computed here
NOT_PLAIN = {
    "lora_bias": "biases", "modules_to_save": "whole modules beside the LoRA", "layer_replication": "repeated layers",
    "target_parameters": "parameters of no layer", "trainable_token_indices": "tokens' embeddings",
    "alora_invocation_tokens": "activated LoRA", "use_bdlora": "BD-LoRA", "use_qalora": "QA-LoRA",
    "arrow_config": "Arrow", "kasa_config": "KaSA", "velora_config": "VeLoRA", "monteclora_config": "MonteCLoRA",
}  # fmt: skip
# ways to begin that take something out of the frozen weights; the file holds what is to be put back into the rest
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def read_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings in a header: under `unet.…` and `text_encoder.…`, or bare where it is of one part alone.

    {} where there are none. Raises ConfigError where they cannot be read, because alpha would be lost.
    """
    text = metadata.get(LORA_ADAPTER_METADATA_KEY)
    return _parse(text, f"{LORA_ADAPTER_METADATA_KEY} in its header") if text else {}


def read_peft_config(folder: Path) -> dict[str, Any] | None:
    """Return the settings of peft's directory; None where there are none. Raises ConfigError as `read_description`."""
    file = folder / PEFT_CONFIG
    if not file.is_file():
        return None
    try:
        return _parse(file.read_text(encoding="utf-8"), f"{PEFT_CONFIG} beside it")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{PEFT_CONFIG} beside it cannot be read: {error}") from error


def described_alpha(described: Mapping[str, Any], name: str, rank: int) -> float:
    """Return a layer's alpha by peft's settings; alpha = rank without any, as diffusers has it."""
    alpha = float(setting(described, name, "lora_alpha", "alpha_pattern", rank))
    # rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank
    return alpha * math.sqrt(rank) if of_part(described, name.split(".")[0], "use_rslora") else alpha


def setting(described: Mapping[str, Any], name: str, key: str, pattern_key: str, default: Any) -> Any:
    """Return what peft's settings say for a layer: by the first of the patterns that fits its name, else for all."""
    part, module = name.split(".", 1)
    for pattern, value in (of_part(described, part, pattern_key) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):  # peft.utils.other.get_pattern_key
            return value
    value = of_part(described, part, key)
    return default if value is None else value


def of_part(described: Mapping[str, Any], part: str, key: str) -> Any:
    """Return one of peft's settings for a part of the pipeline: its own, else the bare one; None without either."""
    return described.get(f"{part}.{key}", described.get(key))


def problem_of(described: Mapping[str, Any], ranks: Mapping[str, int], with_magnitude: Set[str]) -> str | None:
    """Return why layers cannot be read by these settings, as the end of a sentence; None where they can.

    ranks: of the layers by name. with_magnitude: names of those that have one, as a DoRA's do.
    """
    for part in PARTS:
        own = {name: rank for name, rank in ranks.items() if name.startswith(f"{part}.")}
        if own and (
            problem := _not_plain(described, part, bool(own.keys() & with_magnitude)) or _not_true(described, part, own)
        ):
            return problem
    return None


def _not_plain(described: Mapping[str, Any], part: str, is_dora: bool) -> str | None:
    kind = str(of_part(described, part, "peft_type") or "LORA").removeprefix("PeftType.")
    if kind != "LORA":
        return f"is peft's {kind}, which is not supported: only LoRA is"
    if (bias := of_part(described, part, "bias")) not in (None, "none"):
        return f"was trained with biases (bias={bias}), which are not read"
    found = sorted(what for key, what in NOT_PLAIN.items() if of_part(described, part, key))
    if found:
        return f"was trained with {listed(found)}, which is not supported: only plain LoRA is"
    start = str(of_part(described, part, "init_lora_weights") or "").lower()
    if start.startswith(CHANGES_BASE):
        return (
            f"was trained from {start}, which changes the base model's weights too; save it as plain LoRA first "
            "(peft: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if of_part(described, part, "use_dora") and not is_dora:
        return "says that it is a DoRA, and holds no magnitudes"
    return None


def _not_true(described: Mapping[str, Any], part: str, ranks: Mapping[str, int]) -> str | None:
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = of_part(described, part, key)
        if patterns is not None and not isinstance(patterns, dict):
            return f"cannot be used: {key} of its settings is no table"
        for pattern, value in (patterns or {}).items():
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                return f"cannot be used: {key} of its settings has a pattern that is none ({error})"
            if not _is_number(value):
                return f"cannot be used: {key} of its settings has a value that is no number"
    for key in ("r", "lora_alpha"):
        value = of_part(described, part, key)
        if value is not None and not _is_number(value):
            return f"cannot be used: {key} of its settings is no number"
    for name, rank in ranks.items():
        told = setting(described, name, "r", "rank_pattern", rank)
        if told != rank:
            return f"is damaged: its settings say rank {told} of {name}, whose matrices have rank {rank}"
    targets = of_part(described, part, "target_modules")
    named = {layer_name(f"{part}.{target}") for target in targets} - {None} if isinstance(targets, list) else set()
    if lacking := sorted(str(name) for name in named - ranks.keys()):
        return f"is not whole: {listed(lacking)} of its settings {'is' if len(lacking) == 1 else 'are'} not there"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30  # no NaN either


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        described = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    if not isinstance(described, dict):
        raise ConfigError(f"{where} is no table of settings")
    return described
