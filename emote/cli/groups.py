"""The groups of conf/ and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType

from emote.cli.composing import COMPOSING_FAILS, Composer
from emote.cli.explaining import explained
from emote.util.errors import ConfigError


@dataclass
class Groups:
    """What conf/ offers: the options of each group, the one that is composed if nothing is said, None where none."""

    options: dict[str, list[str]]
    defaults: dict[str, str | None]

    def shown(self, group: str) -> list[str]:
        return [name for name in self.options[group] if not name.split("/")[-1].startswith("_")]


def find_groups(composer: Composer, words: list[str]) -> Groups:
    """Find the groups of conf/ and of the directories that the words add to it."""
    try:
        repository = composer.repository([word for word in words if word.startswith("hydra.searchpath=")])
        entries = repository.load_config("config").defaults_list
        chosen = [entry for entry in entries if isinstance(entry, GroupDefault) and not entry.override]
        defaults: dict[str, Any] = {str(entry.group): entry.value for entry in chosen}
        return Groups({group: _options(repository, group) for group in defaults}, defaults)
    except COMPOSING_FAILS as error:
        raise ConfigError(explained(error)) from error


def _options(repository: Any, group: str) -> list[str]:
    names = list(repository.get_group_options(group, ObjectType.CONFIG))
    folders = repository.get_group_options(group, ObjectType.GROUP)
    return names + [f"{folder}/{name}" for folder in folders for name in _options(repository, f"{group}/{folder}")]
