"""Hydra over conf/: from words to the configuration that they compose to."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.cli.keys import LEAVES, flat
from emote.config import GROUPS, config_schema
from emote.util.places import CONF

# ValueError and TypeError are Hydra's own for a few mistakes in a defaults list
COMPOSING_FAILS = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError)


def register_schema() -> None:
    """And `${parts:300,3}`, which is 100,200,300: step counts of a sweep that follow the experiment or its twin."""
    ConfigStore.instance().store(name="schema", node=config_schema())
    OmegaConf.register_new_resolver("parts", _parts, replace=True)


def _parts(whole: int, count: int) -> str:
    return ",".join(str(whole * part // count) for part in range(1, count + 1))


@contextmanager
def hydra_over_conf() -> Iterator[Composer]:
    """What composes, with the schema registered."""
    register_schema()
    outer = get_gh_backup()  # whoever calls may be using Hydra, which is one for a process
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
            yield Composer(GlobalHydra.instance().config_loader())
    finally:
        restore_gh_from_backup(outer)


@dataclass(frozen=True)
class TypedOption:
    """An option of a group that a person typed. The keys that its own file sets stand, whatever an experiment sets;
    what the file inherits does not: an experiment that changes that is meant to."""

    group: str
    name: str
    package: str
    content: DictConfig

    def keys(self) -> set[str]:
        plain: Any = OmegaConf.to_container(self.content, resolve=False)
        return {name for name, _ in flat(plain, f"{self.package}." if self.package else "")}


class Composer:
    """Composes words; the files once for all words with the same ones."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader  # Hydra's
        self.parser = OverridesParser.create(loader)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def with_hydra(self, words: Sequence[str]) -> DictConfig:
        """What the files of these words compose to, where typed options stand; `hydra` is one of its sections."""
        files = files_of(words)
        if tuple(files) not in self.composed:
            composed = hydra_compose("config", for_hydra(files), return_hydra_config=True)
            for option in self.typed_options(files):
                if option.package:
                    OmegaConf.update(composed, option.package, option.content, merge=True)
                else:
                    composed.merge_with(option.content)
            self.composed[tuple(files)] = composed
        return self.composed[tuple(files)]

    def compose(self, words: Sequence[str]) -> DictConfig:
        """Return what a job runs on. Values are set as Hydra sets them."""
        job = copy.deepcopy(self.with_hydra(words))
        OmegaConf.set_struct(job, False)
        job.pop("hydra")
        OmegaConf.set_struct(job, True)
        files = files_of(words)
        for override in self.parser.parse_overrides([word for word in words if word not in files]):
            OmegaConf.update(job, override.key_or_group, override.value(), merge=True)
        return job

    def repository(self, words: Sequence[str]) -> Any:
        """Return what finds the files of conf/, and of the directories that the words add to it."""
        return self.loader._parse_overrides_and_create_caching_repo("config", for_hydra(files_of(words)))[1]

    def typed_options(self, words: Sequence[str]) -> list[TypedOption]:
        """Return the options among the words, but for the experiment, in the order in which groups are composed."""
        overrides = self.parser.parse_overrides(files_of(words))
        chosen: dict[str, Any] = {o.key_or_group: o.value() for o in overrides if o.key_or_group in GROUPS}
        repository, found = self.repository(words), []
        for group in sorted(chosen.keys() - {"experiment"}, key=GROUPS.index):
            for name in chosen[group] if isinstance(chosen[group], list) else [chosen[group]]:
                loaded = repository.load_config(f"{group}/{name}") if name is not None else None
                if loaded is not None:
                    package = loaded.header.get("package") or group
                    content = OmegaConf.masked_copy(loaded.config, [key for key in loaded.config if key != "defaults"])
                    found.append(TypedOption(group, name, "" if package == "_global_" else package, content))
        return found


def files_of(words: Sequence[str]) -> list[str]:
    """Return the words that decide which files are composed: all but `key=value`."""
    return [word for word in words if word.partition("=")[0] not in LEAVES]


def for_hydra(words: Sequence[str]) -> list[str]:
    """Hydra has no `experiment=null`, only `~experiment`, which we keep from those who would type `~model`."""
    return [re.sub(r"^(\w+)=null$", r"~\1", word) if word.split("=")[0] in GROUPS else word for word in words]


def of_jobs(words: Sequence[str]) -> list[str]:
    """Return the words that are a job's own: all but those to Hydra, such as where else files are searched."""
    return [word for word in words if not word.startswith(("hydra.", "hydra/"))]


def sweep_of_files(composed: DictConfig) -> list[str]:
    """Return the words of the sweep that an experiment brings along, as hydra.sweeper.params."""
    params = composed.hydra.sweeper.get("params") or {}
    return [f"{key}={value}" for key, value in params.items()]
