"""What two configurations have in common, and where they differ."""

from __future__ import annotations

from emote.config import Config, as_text, get, schema_keys
from emote.util.errors import ConfigError

# what decides which images are held out and how their loss is computed
COMPARED = [
    name
    for name, _, _ in schema_keys()
    if name.startswith(("data.", "model.")) or name == "callbacks.validation.timesteps"
    if name not in {"data.flip", "data.on_bad_item", "data.image_column", "data.text_column", "data.training_items"}
]


def differences(one: Config, other: Config, names: list[str]) -> dict[str, tuple[str, str]]:
    """The keys among `names` whose values differ, with both values as text."""
    both = {name: (as_text(get(one, name)), as_text(get(other, name))) for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def check_comparable(one: Config, other: Config) -> None:
    """Raises ConfigError where two runs are not about the same held-out images, captions and base model."""
    found = differences(one, other, COMPARED)
    if found:
        lines = [f"{name}: {values[0]} and {values[1]}" for name, values in found.items()]
        raise ConfigError(
            f"{one.name} and {other.name} cannot be compared image by image, as they differ in\n  " + "\n  ".join(lines)
        )
