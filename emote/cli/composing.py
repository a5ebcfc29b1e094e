"""Hydra over conf/: from words to the configuration that they compose to."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.cli.keys import LEAVES
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
def hydra_over_conf() -> Iterator[Hydra]:
    """What composes, with the schema registered."""
    register_schema()
    outer = get_gh_backup()  # whoever calls may be using Hydra, which is one for a process
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
            composer = GlobalHydra.instance().hydra
            assert composer is not None
            yield composer
    finally:
        restore_gh_from_backup(outer)


def compose_with_hydra(composer: Hydra, words: list[str]) -> DictConfig:
    return composer.compose_config("config", for_hydra(words), run_mode=RunMode.RUN, with_log_configuration=False)


def compose(composer: Hydra, words: list[str]) -> DictConfig:
    return without_hydra(compose_with_hydra(composer, words))


def without_hydra(composed: DictConfig) -> DictConfig:
    task = composed.copy()
    OmegaConf.set_struct(task, False)
    task.pop("hydra")
    OmegaConf.set_struct(task, True)
    return task


def compose_job(composer: Hydra, words: list[str], composed: dict[tuple[str, ...], DictConfig]) -> DictConfig:
    """As `compose`, but the files once for all jobs with the same ones (kept in `composed`): then values are set as
    Hydra sets them."""
    files = tuple(files_of(words))
    if files not in composed:
        composed[files] = compose(composer, list(files))
    job = copy.deepcopy(composed[files])
    values = [word for word in words if word not in files]
    for override in OverridesParser.create(composer.config_loader).parse_overrides(values):
        OmegaConf.update(job, override.key_or_group, override.value(), merge=True)
    return job


def repository_of(composer: Hydra, words: list[str]) -> Any:
    """What finds the files of conf/, and of the directories that the words add to it."""
    loader: Any = composer.config_loader
    return loader._parse_overrides_and_create_caching_repo("config", words)[1]


def files_of(words: list[str]) -> list[str]:
    """The words that decide which files are composed: all but `key=value`."""
    return [word for word in words if word.partition("=")[0] not in LEAVES]


def for_hydra(words: Sequence[str]) -> list[str]:
    """Hydra has no `experiment=null`, only `~experiment`, which we keep from those who would type `~model`."""
    return [re.sub(r"^(\w+)=null$", r"~\1", word) if word.split("=")[0] in GROUPS else word for word in words]


def as_typed(hydra_config: Any) -> list[str]:
    """The words of a job as they were typed: with their interpolations, and `experiment=null`."""
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [re.sub(r"^~(\w+)(=null)?$", r"\1=null", word) for word in words]


def sweep_of_files(composed: DictConfig) -> list[str]:
    """The words of the sweep that an experiment brings along, as hydra.sweeper.params."""
    params = composed.hydra.sweeper.get("params") or {}
    return [f"{key}={value}" for key, value in params.items()]
