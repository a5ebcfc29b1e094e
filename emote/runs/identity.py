"""Which run is this? A fingerprint of everything that decides what is learned, except how far to go."""

from __future__ import annotations

import hashlib
import json

from emote.config import RUNTIME_KEYS, Config, as_text, get, schema_keys
from emote.data.background import is_white

FORMAT = 1  # raise it when the same configuration would train differently


def identity_keys(config: Config) -> dict[str, object]:
    """The keys that decide what is learned, resolved; without those that do nothing in this configuration."""
    idle = {"data.background_caption"} if is_white(config.data.background) else set()
    return {
        name: plain(get(config, name))
        for name, _, _ in schema_keys()
        if name not in RUNTIME_KEYS | idle and name.split(".")[0] not in RUNTIME_KEYS
    }


def identity(config: Config, data_identity: str, weights: dict[str, str]) -> str:
    """12 hex digits: the science keys and the content of data and base weights, wherever these lie."""
    facts = {"format": FORMAT, "science": identity_keys(config), "data": data_identity, "weights": weights}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def deliverable_key(config: Config) -> str:
    """Of what a finished step count shows beyond the adapter: other prompts are drawn again, not trained again."""
    names = [name for name, _, _ in schema_keys() if name.startswith(("callbacks.samples.", "callbacks.validation."))]
    shown = {name: plain(get(config, name)) for name in names if not name.endswith(".every_steps")}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:12]


def plain(value: object) -> object:
    """A value of the configuration as JSON and YAML have it."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (int, float, bool, type(None))) else as_text(value)
