"""Which run is this? A fingerprint of everything that decides what is learned, except how far to go."""

from __future__ import annotations

import hashlib
import json

from emote.config import RUNTIME_KEYS, Config, as_text, get, schema_keys
from emote.data.background import is_white

FORMAT = 1  # raise it when the same configuration would train differently


def identity_keys(config: Config) -> dict[str, object]:
    """Return the keys that decide what is learned, resolved.

    Those are left out that do nothing in this configuration, such as the options of components that are not chosen,
    and those that stand at the value which means what was done before the key existed.
    """
    values = {name: (get(config, name), entry.metadata) for name, entry, _ in schema_keys() if not _is_runtime(name)}
    chosen = {value for value, metadata in values.values() if metadata["kind"] and isinstance(value, str)}
    white = is_white(config.data.background)
    return {
        name: plain(value)
        for name, (value, metadata) in values.items()
        if value != metadata["before"]
        and not (name == "data.background_caption" and white)
        and not (name == "lora.nested_by" and not config.lora.nested)
        and (".options." not in name or name.split(".")[-2] in chosen)
    } | _learning_callbacks(config)


def _is_runtime(name: str) -> bool:
    return name in RUNTIME_KEYS or name.split(".")[0] in RUNTIME_KEYS


def _learning_callbacks(config: Config) -> dict[str, object]:
    """Callbacks of one's own may change what is learned, but for those that say `only_watches: true`."""
    counting = {name: node for name, node in config.callbacks.extra.items() if not node.get("only_watches")}
    return {"callbacks.extra": plain(counting)} if counting else {}


def identity(config: Config, data_identity: str, weights: dict[str, str]) -> str:
    """12 hex digits: the science keys and the content of data and base weights, wherever these lie."""
    facts = {"format": FORMAT, "science": identity_keys(config), "data": data_identity, "weights": weights}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def deliverable_key(config: Config) -> str:
    """Of what a finished step count shows beyond the adapter: other prompts are drawn again, not trained again."""
    sections = ("callbacks.samples.", "callbacks.validation.")
    keys = [(name, entry.metadata["before"]) for name, entry, _ in schema_keys() if name.startswith(sections)]
    values = {name: (get(config, name), before) for name, before in keys if not name.endswith(".every_steps")}
    shown = {name: plain(value) for name, (value, before) in values.items() if value != before}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:12]


def plain(value: object) -> object:
    """Return a value of the configuration as JSON and YAML have it."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(name): plain(v) for name, v in value.items()}
    return value if isinstance(value, (int, float, bool, type(None))) else as_text(value)
