"""The words after `python train.py`: explained, checked against the schema all at once, then run.

Hydra composes and launches; what it accepts silently (`+new.key=1`, `~model`) or reports one mistake at a time is
checked here before. Exit codes: 0; 2 for mistakes; 1 for a sweep with failures; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import itertools
import math
import re
import shlex
import shutil
import sys
import textwrap
import traceback
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import hydra as hydra_api
import yaml
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, InterpolationValidationError, OmegaConfBaseException

from emote import __version__
from emote.config import (
    GROUPS,
    Config,
    ConfigError,
    _range_problems,
    nearest,
    problems,
    schema_keys,
    to_dataclass,
)
from emote.quiet import quiet_libraries

CONF = Path(__file__).resolve().parent.parent / "conf"
OPEN = "callbacks.extra"  # the one place where a key may be added
MOST_VALUES = 10_000  # of one sweep that are looked at
MOST_COMBINATIONS = 48  # of a sweep that are composed beforehand

# ValueError and TypeError are Hydra's own for a few mistakes in a defaults list
COMPOSING_FAILS = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError)

LEAVES: dict[str, tuple[Any, Any]] = {name: (entry, kind) for name, entry, kind in schema_keys()}
SECTIONS = {name.rsplit(".", depth)[0] for name in LEAVES for depth in range(1, name.count(".") + 1)}


def main(argv: list[str]) -> int:
    """Do what the words say; returns the exit code. Unforeseen exceptions of a single run are raised as they are."""
    try:
        flags = _read_flags(argv)
        if flags.hydra_help or flags.info or flags.shell_completion:
            return _leave_to_hydra(argv)
        with _composer() as composer:
            return _main(composer, flags)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except HydraException as error:  # not a job's: jobs raise their own
        print(f"error: {_together(_explained(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:  # emote.training's Interrupted is one, and knows its signal
        print(str(stop) or "interrupted", file=sys.stderr)
        return 128 + int(getattr(stop, "signal_number", 2))


def compose_config(words: list[str]) -> Config:
    """The checked configuration that the words of a command line compose to; raises ConfigError with all mistakes."""
    with _composer() as composer:
        found = check(composer, words, sweep=False)
        return to_dataclass(_compose_of_sweep(composer, found.first, found))


def _main(composer: Hydra, flags: argparse.Namespace) -> int:
    words: list[str] = flags.words
    if flags.config_dir:
        if not (folder := Path(flags.config_dir).resolve()).is_dir():
            raise ConfigError(f"--config-dir must name a directory, got {flags.config_dir}")
        words = [*words, f'hydra.searchpath=["file://{folder}"]']
    if flags.version:
        print(f"emote {__version__}")
    elif flags.help:
        print(help_text(composer, words))
    elif flags.cfg:
        if flags.multirun:
            raise ConfigError("--cfg shows one configuration: leave out -m, and say one value for each key")
        check(composer, words, sweep=False)
        composer.show_cfg("config", _for_hydra(words), flags.cfg, flags.package, flags.resolve)
    elif flags.resolve or flags.package:
        raise ConfigError("--resolve and --package go with --cfg: python train.py --cfg job --resolve")
    elif check(composer, words, sweep=flags.multirun).sweep:
        return _run_sweep(composer, words)
    else:
        _run_single(composer, words)
    return 0


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(f"{message}\n`python train.py --help` explains what can be typed")


def _read_flags(argv: list[str]) -> argparse.Namespace:
    parser = _Flags(prog="train.py", add_help=False, allow_abbrev=False)
    for names in ("--help -h", "--version", "--multirun -m", "--run -r", "--resolve", "--hydra-help"):
        parser.add_argument(*names.split(), action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", const="all", nargs="?")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("words", nargs="*")
    flags, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise ConfigError(
            _together([f"{word} is no flag{_did_you_mean(_without_dashes(word, parser))}" for word in unknown])
        )
    if flags.run and flags.multirun:
        raise ConfigError("--run and --multirun exclude each other")
    return flags


def _without_dashes(word: str, parser: argparse.ArgumentParser) -> str | None:
    bare = word.lstrip("-")
    if re.match(r"[\w./]+=", bare) or bare in LEAVES:
        return bare if "=" in bare else f"{bare}=…"
    return nearest(word, [flag for flag in parser._option_string_actions if flag.startswith("--")])


def _leave_to_hydra(argv: list[str]) -> int:
    ConfigStore.instance().store(name="schema", node=Config)
    saved = sys.argv
    sys.argv = [saved[0], *argv]
    try:
        hydra_api.main(config_path=str(CONF), config_name="config", version_base="1.3")(_job)()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = saved
    return 0


@contextmanager
def _composer() -> Iterator[Hydra]:
    """Hydra over conf/, with the schema registered."""
    ConfigStore.instance().store(name="schema", node=Config)
    outer = get_gh_backup()  # whoever calls may be using Hydra, which is one for a process
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
            composer = GlobalHydra.instance().hydra
            assert composer is not None
            yield composer
    finally:
        restore_gh_from_backup(outer)


def _compose_all(composer: Hydra, words: list[str]) -> DictConfig:
    return composer.compose_config("config", _for_hydra(words), run_mode=RunMode.RUN, with_log_configuration=False)


def _compose(composer: Hydra, words: list[str]) -> DictConfig:
    return _without_hydra(_compose_all(composer, words))


def _without_hydra(composed: DictConfig) -> DictConfig:
    task = composed.copy()
    OmegaConf.set_struct(task, False)
    task.pop("hydra")
    OmegaConf.set_struct(task, True)
    return task


# ---------------------------------------------------------------------------------------------------- running


def _job(composed: DictConfig) -> Any:
    """One run, as Hydra's launchers call it: mistakes are exceptions here."""
    try:
        config = to_dataclass(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(_together(_explained(error))) from error
    if wrong := problems(config):
        raise ConfigError(_together(wrong))
    quiet_libraries()
    from emote.training.run import run  # late: it imports torch

    return run(config, _said(HydraConfig.get()))


def _said(hydra_config: Any) -> list[str]:
    """The words of a job as they were typed: with their interpolations."""
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [re.sub(r"^~(\w+)(=null)?$", r"\1=null", word) for word in words]


def _for_hydra(words: Sequence[str]) -> list[str]:
    """Hydra has no `experiment=null`, only `~experiment`, which we keep from those who would type `~model`."""
    return [re.sub(r"^(\w+)=null$", r"~\1", word) if word.split("=")[0] in GROUPS else word for word in words]


def _single_job(composed: DictConfig) -> Any:
    try:
        return _job(composed)
    except ConfigError as error:
        return error  # a raised one Hydra would announce in its own words


def _sweep_job(composed: DictConfig) -> Any:
    task = HydraConfig.get()
    print(f"job {task.job.num}: {' '.join(_said(task))}", file=sys.stderr, flush=True)
    try:
        return _job(composed)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise
    except Exception:
        traceback.print_exc()  # of each job at once; Hydra prints the first one's at the end
        raise


def _run_single(composer: Hydra, words: list[str]) -> None:
    outcome = composer.run("config", _single_job, _for_hydra(words)).return_value
    if isinstance(outcome, ConfigError):
        raise outcome


def _run_sweep(composer: Hydra, words: list[str]) -> int:
    """Every job, also after one that failed. Not Hydra's own sweeper, which raises the first failure, forgets the
    others and leaves a multirun.yaml; its launchers are used as they are."""
    words = _for_hydra(words)
    master = composer.compose_config("config", words, run_mode=RunMode.MULTIRUN, with_log_configuration=True)
    if master.hydra.runtime.choices["hydra/sweeper"] != "basic":
        composer.multirun("config", _sweep_job, words)
        return 0
    callbacks = Callbacks(master)
    callbacks.on_multirun_start(config=master, config_name="config")
    context = HydraContext(config_loader=composer.config_loader, callbacks=callbacks)
    launcher = Plugins.instance().instantiate_launcher(context, _sweep_job, master)
    said = [*_sweeper_words(master), *_said(master.hydra)]
    overrides = OverridesParser.create(composer.config_loader).parse_overrides(said)
    # the sweeper escapes what is not swept (lora.alpha=$\\{lora.rank\\}); it is shown and recorded as typed
    fixed = [o for o in overrides if not o.is_sweep_override()]
    as_typed = {f"{o.get_key_element()}={o.get_value_element_as_str()}": str(o.input_line) for o in fixed}
    results: list[JobReturn] = []
    for batch in BasicSweeper.split_arguments(overrides, master.hydra.sweeper.max_batch_size):
        jobs = [_for_hydra([as_typed.get(word, word) for word in job]) for job in batch]
        results += launcher.launch(jobs, initial_job_idx=len(results))
    callbacks.on_multirun_end(config=master, config_name="config")
    return _report_failures(results)


def _sweeper_words(master: DictConfig) -> list[str]:
    params = master.hydra.sweeper.get("params") or {}
    return [f"{key}={value}" for key, value in params.items()]


def _report_failures(results: list[JobReturn]) -> int:
    # `return_value` would raise, and write to stderr
    failed = [(list(r.overrides or []), r._return_value) for r in results if r.status is not JobStatus.COMPLETED]
    if not failed:
        return 0
    everywhere = set.intersection(*(set(r.overrides or []) for r in results)) if len(results) > 1 else set()
    names = [" ".join(word for word in words if word not in everywhere) for words, _ in failed]
    print(f"\n{len(failed)} of {len(results)} jobs failed:", file=sys.stderr)
    for name, (_, error) in zip(names, failed, strict=True):
        reason = (str(error).strip().splitlines() or [""])[0]
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        print(f"  {name:<{max(map(len, names))}}  {kind}{reason}", file=sys.stderr)
    print("the same command again runs what failed; finished jobs return at once", file=sys.stderr)
    return 1


# ---------------------------------------------------------------------------------------------------- checking


@dataclass
class Groups:
    """What conf/ offers: the options of each group, the one that is composed if nothing is said, None where none."""

    options: dict[str, list[str]]
    defaults: dict[str, str | None]

    def shown(self, group: str) -> list[str]:
        return [name for name in self.options[group] if not name.split("/")[-1].startswith("_")]


@dataclass
class Findings:
    """What a check found: the mistakes, the keys they are about, and the command line as it was meant."""

    sweep: bool
    mistakes: list[str] = field(default_factory=list)
    suspects: set[str] = field(default_factory=set)
    meant: list[list[str]] = field(default_factory=list)  # for each word its values, one unless it is a sweep
    several: dict[str, str] = field(default_factory=dict)  # words with several values, and what else they may mean
    sound_files: dict[str, bool] = field(default_factory=dict)
    composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    @property
    def first(self) -> list[str]:
        """The words of the first job."""
        return [values[0] for values in self.meant]

    def add(self, line: str, *suspects: str) -> None:
        if line not in self.mistakes:
            self.mistakes.append(line)
        self.suspects.update(suspects)


def check(composer: Hydra, words: list[str], sweep: bool) -> Findings:
    """Compare the words with the schema and the composed values with their rules: are they a sweep, what is composed.
    Raises ConfigError with everything that is wrong, not only the first."""
    found = Findings(sweep or "hydra.mode=MULTIRUN" in words)
    groups = _groups(composer, [word for word in words if word.startswith("hydra.searchpath=")])
    _check_words(composer, words, groups, found)
    _check_sweep_of_files(composer, groups, found)
    for word, hint in found.several.items() if not found.sweep else ():
        found.add(f"{word} has several values: add -m to run each{hint}", word.partition("=")[0])
    for combination in _combinations(found.meant):
        if _check_files(composer, combination, found):
            _check_composed(composer, combination, found)
    if found.mistakes:
        raise ConfigError(_together(found.mistakes))
    _announce_hardware(composer, words, groups)
    return found


def _groups(composer: Hydra, searchpath: list[str]) -> Groups:
    with _explaining():
        repository = _repository(composer, searchpath)

        def options(group: str) -> list[str]:
            names = list(repository.get_group_options(group, ObjectType.CONFIG))
            folders = repository.get_group_options(group, ObjectType.GROUP)
            return names + [f"{folder}/{name}" for folder in folders for name in options(f"{group}/{folder}")]

        entries = repository.load_config("config").defaults_list
        chosen = [entry for entry in entries if isinstance(entry, GroupDefault) and not entry.override]
        defaults: dict[str, Any] = {str(entry.group): entry.value for entry in chosen}
        return Groups({group: options(group) for group in defaults}, defaults)


def _repository(composer: Hydra, words: list[str]) -> Any:
    """What finds the files of conf/, and of the directories that the words add to it."""
    loader: Any = composer.config_loader
    return loader._parse_overrides_and_create_caching_repo("config", words)[1]


def _check_sweep_of_files(composer: Hydra, groups: Groups, found: Findings) -> None:
    """An experiment may bring its sweep along, as hydra.sweeper.params, and say hydra.mode: MULTIRUN."""
    files = _files_of(found.first)
    try:
        composed = _compose_all(composer, files)
    except COMPOSING_FAILS:
        return  # what is wrong comes to light below
    found.composed[tuple(files)] = _without_hydra(composed)
    found.sweep = found.sweep or composed.hydra.mode is RunMode.MULTIRUN
    if composed.hydra.runtime.choices["hydra/sweeper"] == "basic" and (swept := _sweeper_words(composed)):
        typed = {word.partition("=")[0] for word in found.first}
        _check_words(composer, [word for word in swept if word.partition("=")[0] not in typed], groups, found)


def _files_of(words: list[str]) -> list[str]:
    """The words that decide which files are composed: all but `key=value`."""
    return [word for word in words if word.partition("=")[0] not in LEAVES]


def _check_words(composer: Hydra, words: list[str], groups: Groups, found: Findings) -> None:
    parser = OverridesParser.create(composer.config_loader)
    chosen: set[str] = set()
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            found.add(_unreadable(word, groups, parser), word.split("=")[0].lstrip("+~"))
            continue
        if override.is_hydra_override():
            found.meant.append([word])
            continue
        if override.key_or_group in groups.options and override.key_or_group in chosen:
            found.add(f"{override.key_or_group} is chosen twice; say it once")
            continue
        chosen.add(override.key_or_group)
        if override.is_sweep_override():
            _check_sweep(override, groups, parser, found)
        else:
            found.meant.append(_check_word(override, groups, found))
    found.meant = [values for values in found.meant if values]


def _unreadable(word: str, groups: Groups, parser: OverridesParser) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        option = next((f"{group}={word}" for group in groups.options if word in groups.shown(group)), None)
        guess = f"{word}=…" if word in LEAVES or word in groups.options else option
        return f"{word} is not key=value{_did_you_mean(guess)}"
    if key != key.strip() or (value != value.strip() and not value.strip().startswith(("'", '"'))):
        return f"{word} cannot be read: no spaces around ="
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return f"{word} cannot be read: {opening} and {closing} do not match"
    for quote in "\"'":
        quoted = f"{key}={quote}{value}{quote}"
        with suppress(HydraException):
            if quote not in value and not parser.parse_override(quoted).is_sweep_override():
                return f"{word} cannot be read; if the value is text, quote it twice: {shlex.quote(quoted)}"
    return f"{word} cannot be read as key=value"


def _check_sweep(override: Override, groups: Groups, parser: OverridesParser, found: Findings) -> None:
    key, said = override.key_or_group, str(override.input_line)
    if not override.is_discrete_sweep():
        found.add(f"{said} names no values; say them, or range(…)", key)
        return
    found.several[said] = _other_meaning(key, said.partition("=")[2])
    if found.several[said] and not found.sweep:
        return  # probably not meant as a sweep
    before = len(found.mistakes)
    values: list[str] = []
    try:
        texts = list(itertools.islice(override.sweep_string_iterator(), MOST_VALUES))
    except (HydraException, ValueError) as error:
        found.add(f"{said} names no values ({error})", key)
        return
    for text in texts:
        word = f"{override.get_key_element()}={text}"
        values += _check_word(parser.parse_override(word), groups, found)
    if not values and len(found.mistakes) == before:
        found.add(f"{said} has no value at all", key)
    found.meant.append(values)


def _other_meaning(key: str, value: str) -> str:
    """What else `key=a,b` may have been meant as."""
    kind = LEAVES[key][1] if key in LEAVES else None
    if typing.get_origin(kind) is list or key == "lora.targets":
        return f", or brackets to mean a list: {shlex.quote(f'{key}=[{value}]')}"
    if kind is str or str in typing.get_args(kind):
        quoted = f'{key}="{value}"'
        return f", or quotes to mean one text: {shlex.quote(quoted)}"
    return ""


def _check_word(override: Override, groups: Groups, found: Findings) -> list[str]:
    """Note what is wrong with `key=value`; returns the word as it was meant, [] where that cannot be told."""
    key, said, value = override.key_or_group, str(override.input_line), override.value()
    key_is_open = key.startswith(f"{OPEN}.")
    if override.is_delete() and not key_is_open:
        instead = f"; say {key}=null for none" if _may_be_null(key, groups) else ""
        known = key in LEAVES or key in SECTIONS or key in groups.options
        found.add(f"{said} would remove {key}, which every run needs{instead}" if known else _unknown(key, groups), key)
        return []
    if override.package is not None:
        found.add(f"{said} gives {key} another place (@{override.package}), where no key is; say {key}=…", key)
        return []
    if (override.is_add() or override.is_force_add()) and key != OPEN and not key_is_open:
        if key in LEAVES or key in groups.options:
            found.add(f"{said}: {key} exists, + is for new keys; did you mean {said.lstrip('+')}?")
            return _check_word(_as_typed(override, key), groups, found)
        found.add(f"{_unknown(key, groups)} (+ can add keys to {OPEN} alone)", key)
        return []
    if key_is_open:
        return [said]
    if isinstance(value, dict) and (key in SECTIONS or key in groups.options):
        return _check_mapping(key, value, said, groups, found)
    if key in groups.options:
        return _check_choice(key, value, groups, found)
    if key in LEAVES:
        if line := value_problem(key, value):
            found.add(line, key)
            return []
        return [said]
    found.add(_unknown(key, groups), key)
    return [word for guess in _guesses(key, groups) for word in _check_word(_as_typed(override, guess), groups, found)]


def _as_typed(override: Override, key: str) -> Override:
    line = f"{key}={str(override.input_line).partition('=')[2]}"
    return replace(override, type=OverrideType.CHANGE, key_or_group=key, input_line=line)


def _check_mapping(key: str, value: dict[str, Any], said: str, groups: Groups, found: Findings) -> list[str]:
    lines = [line for name, leaf in _flat(value, f"{key}.") if (line := _leaf_problem(name, leaf, groups))]
    for line in lines:
        found.add(line, line.split(" ")[0])
    return [] if lines else [said]


def _check_choice(group: str, value: Any, groups: Groups, found: Findings) -> list[str]:
    if value is None and groups.defaults[group] is None:
        return [f"{group}=null"]
    meant = []
    for option in value if isinstance(value, list) else [value]:
        option = "null" if option is None else str(option)
        shown = groups.shown(group)
        if option in shown:
            meant.append(option)
            continue
        rule = f"one of {', '.join(shown)}" if shown else "null: there is no option yet"
        guess = nearest(option, shown) or next((name for name in shown if name.endswith(f"/{option}")), None)
        keys = [name for name in LEAVES if name.startswith(f"{group}.") and name.count(".") == 1]
        listed = f"{', '.join(keys[:6])}{', …' if len(keys) > 6 else ''}"
        hint = f"; its keys are {listed}" if keys and guess is None and value is not None else ""
        found.add(f"{group} must be {rule}, got {option}{_did_you_mean(guess)}{hint}", group)
        meant += [guess] if guess else []
    return [f"{group}=[{','.join(meant)}]" if isinstance(value, list) else f"{group}={meant[0]}"] if meant else []


def _leaf_problem(name: str, value: Any, groups: Groups) -> str | None:
    if name in LEAVES:
        return value_problem(name, value)
    return None if name.startswith(f"{OPEN}.") else _unknown(name, groups)


def value_problem(name: str, value: Any) -> str | None:
    """`key rule, got value` where the schema's type or range refuses the value, None where it takes it.
    Interpolations are taken: what they refer to is known only when all is composed."""
    entry, kind = LEAVES[name]
    if isinstance(value, str) and "${" in value:
        return None
    shown = "nothing" if value is None or value == "" else "true" if value is True else value
    shown = "false" if value is False else shown
    rule = f"{name} must be {described(kind)}, got {shown}"
    if value == "???" or (kind is bool and type(value) is int and value not in (0, 1)):
        return rule
    typed = _typed()
    try:
        OmegaConf.update(typed, name, value)
        converted = OmegaConf.select(typed, name)
    except (OmegaConfBaseException, ValueError):
        options = [member.name for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
        return rule + _did_you_mean(nearest(str(value).lower(), options))
    plain = OmegaConf.to_container(converted) if OmegaConf.is_list(converted) else converted
    return next(iter(_range_problems(name, entry, plain)), None)


@lru_cache
def _typed() -> DictConfig:
    return OmegaConf.structured(Config)


def described(kind: Any) -> str:
    """A type of the schema in words."""
    inner = typing.get_args(kind)
    if type(None) in inner:
        return f"{described(inner[0])} or null"
    if typing.get_origin(kind) is list:
        return {float: "a list of numbers", str: "a list of texts"}.get(inner[0], "a list")
    if typing.get_origin(kind) is dict:
        return "a mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text"}.get(kind, "any value")


def _may_be_null(key: str, groups: Groups) -> bool:
    if key in groups.options:
        return groups.defaults[key] is None
    return key in LEAVES and type(None) in typing.get_args(LEAVES[key][1])


def _unknown(key: str, groups: Groups) -> str:
    if key in SECTIONS:
        inner = [name for name in LEAVES if name.startswith(f"{key}.")]
        return f"{key} is a section, not a key; its keys are {', '.join(inner)}"
    group, _, option = key.partition("/")
    if group in groups.options and option in groups.shown(group):
        return f"{key} is an option; did you mean {group}={option}?"
    guess = next(iter(_guesses(key, groups)), None)
    return f"{key} is no key{_did_you_mean(guess) or '; `python train.py --help` lists them'}"


def _guesses(key: str, groups: Groups) -> list[str]:
    """The key or group that was probably meant, in a list; [] where nothing is near."""
    if key in SECTIONS or key.partition("/")[2] in groups.options.get(key.partition("/")[0], []):
        return []
    name = key.replace("/", ".")
    last = name.rsplit(".", 1)[-1]
    leaves_by_last: dict[str, list[str]] = {}
    for leaf in LEAVES:
        leaves_by_last.setdefault(leaf.rsplit(".", 1)[-1], []).append(leaf)
    if same := leaves_by_last.get(last):
        return [nearest(name, same) or same[0]]
    if close := difflib.get_close_matches(name, [*LEAVES, *groups.options], 1, 0.75):
        return close
    if near_last := difflib.get_close_matches(last, leaves_by_last, 1, 0.75):
        same = leaves_by_last[near_last[0]]
        return [nearest(name, same) or same[0]]
    return []


def _did_you_mean(guess: str | None) -> str:
    return f"; did you mean {guess}?" if guess else ""


def _combinations(values: list[list[str]]) -> list[list[str]]:
    """All jobs of a sweep; of a large one, each value once beside the first of the others, as far as time allows."""
    if math.prod(map(len, values)) <= MOST_COMBINATIONS:
        return [list(job) for job in itertools.product(*values)]
    first = [each[0] for each in values]
    singles = [[*first[:i], v, *first[i + 1 :]] for i, each in enumerate(values) for v in each[1:]]
    return [first, *singles][:MOST_COMBINATIONS]


def _check_files(composer: Hydra, words: list[str], found: Findings) -> bool:
    """Compare the YAML files that these words compose with the schema; False where one is not as it should be."""
    loader: Any = composer.config_loader
    words = _for_hydra(_files_of(words))
    if (seen := " ".join(words)) not in found.sound_files:
        try:
            files = loader.compute_defaults_list("config", words, RunMode.RUN).defaults
            repository = _repository(composer, words)
            ours = [part for part in files if not re.match(r"hydra/|schema$", part.config_path)]
            found.sound_files[seen] = all([_check_file(repository, part, found) for part in ours])  # noqa: C419
        except COMPOSING_FAILS as error:
            found.sound_files[seen] = False
            for line in _explained(error):
                found.add(_blamed(line, error, composer, words))
    return found.sound_files[seen]


def _blamed(line: str, error: BaseException, composer: Hydra, words: list[str]) -> str:
    """Hydra blames config.yaml for an option that is missing; the word with the `override` is to blame."""
    missing = re.search(r"In 'config': Could not find '(.+?)/([^/]+?)'", str(error))
    for word in words if missing else []:
        with suppress(*COMPOSING_FAILS):
            chosen = _repository(composer, words).load_config(word.replace("=", "/", 1))
            wanted = [(getattr(d, "group", "").lstrip("/"), getattr(d, "value", "")) for d in chosen.defaults_list]
            if missing and (missing[1], missing[2]) in wanted:
                return line.replace("conf/config.yaml", _where(chosen, word.replace("=", "/", 1)))
    return line


def _where(loaded: Any, config_path: str) -> str:
    return _short(f"{str(loaded.path).removeprefix('file://')}/{config_path}.yaml")


def _check_file(repository: Any, part: Any, found: Findings) -> bool:
    if part.config_path in found.sound_files:
        return found.sound_files[part.config_path]
    loaded = repository.load_config(part.config_path)
    where = _where(loaded, part.config_path)
    content = OmegaConf.to_container(loaded.config, resolve=False)
    lines = []
    if isinstance(content, dict):
        values = _flat(content, f"{part.package}." if part.package else "")
        known = ((name, value) for name, value in values if name.split(".")[0] not in ("hydra", "defaults"))
        wrong = (_leaf_problem(name, value, Groups({}, {})) for name, value in known if value != "???")
        lines = [line for line in wrong if line]
    elif content is not None:
        lines = [f"the file must have keys, got a {type(content).__name__}"]
    for line in lines:
        found.add(f"{where}: {line}")
    found.sound_files[part.config_path] = not lines
    return not lines


def _flat(content: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in LEAVES:
            yield from _flat(value, f"{name}.")
        elif value is not None or name not in SECTIONS:  # an empty section says nothing
            yield name, value


def _check_composed(composer: Hydra, words: list[str], found: Findings) -> None:
    try:
        lines = problems(to_dataclass(_compose_of_sweep(composer, words, found)))
    except COMPOSING_FAILS as error:
        lines = _explained(error)
    for line in lines:
        if line.split(" ")[0].rstrip(":") not in found.suspects:  # said already, or a consequence of it
            found.add(line)


def _compose_of_sweep(composer: Hydra, words: list[str], found: Findings) -> DictConfig:
    """As _compose, but the files once for all jobs with the same ones: then values are set as Hydra sets them."""
    files = tuple(_files_of(words))
    values = [word for word in words if word not in files]
    if files not in found.composed:
        found.composed[files] = _compose(composer, list(files))
    composed = copy.deepcopy(found.composed[files])
    for override in OverridesParser.create(composer.config_loader).parse_overrides(values):
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    return composed


def _announce_hardware(composer: Hydra, words: list[str], groups: Groups) -> None:
    """Say so where a typed hardware= replaces the one that the experiment pins."""
    typed = [word for word in words if word.startswith("hardware=")]
    rest = [word for word in words if word not in typed]
    if not typed or not any(word.startswith("experiment=") for word in rest):
        return
    with suppress(*COMPOSING_FAILS):  # sweeps over experiments: nothing to say
        loader: Any = composer.config_loader
        pinned = loader.compute_defaults_list("config", rest, RunMode.RUN).overrides.known_choices["hardware"]
        if pinned != groups.defaults["hardware"] and typed[-1] != f"hardware={pinned}":
            print(f"note: {typed[-1]} as typed; the experiment pins hardware={pinned}", file=sys.stderr)


def _together(lines: Sequence[str]) -> str:
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} mistakes, nothing was started:", *(f"  {line}" for line in lines)])


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except COMPOSING_FAILS as error:
        raise ConfigError(_together(_explained(error))) from error


def _explained(error: BaseException) -> list[str]:
    """What Hydra, OmegaConf or YAML complain about, in our words where the case is known."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{_short(mark.name)}, line {mark.line + 1}" if mark else "a file in conf/"
        return [f"{where}: not valid YAML ({error.problem or error.context})"]
    text = str(error)
    if missing := re.search(r"In '(.+?)': Could not find '(.+?)'", text):
        return [_missing_option(missing[1], missing[2], text)]
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = str(getattr(cause, "full_key", None) or "")
    reason = str(cause).split("\n")[0]
    if not_ours := re.match(r"Could not override '(hydra\..+?)'", text):
        return [f"{not_ours[1]} is no key of Hydra's"]
    if key.startswith(f"{OPEN}.") and "not in struct" in reason:
        return [f"{key} is new: write + before it"]
    if interpolation := re.match(r"Interpolation key '(.+?)' not found", reason):
        guess = nearest(interpolation[1], LEAVES)
        return [f"{key} refers to {interpolation[1]}, which is no key{_did_you_mean(guess)}"]
    if isinstance(cause, InterpolationResolutionError) and not isinstance(cause, InterpolationValidationError):
        return [f"{key} cannot be resolved: {reason}"]
    if "missing mandatory value" in reason:
        return [f"{key} must be given: say {key}=…"]
    if key in LEAVES:
        return [f"{key} must be {described(LEAVES[key][1])}: {reason}"]
    lines = [line.strip() for line in text.split("\nConfig search path")[0].splitlines() if line.strip()]
    return [" ".join(lines[:4])] if lines else [type(error).__name__]


def _missing_option(where: str, wanted: str, text: str) -> str:
    group, _, option = wanted.rpartition("/")
    options = [line.strip() for line in text.split("\n") if line.startswith("\t") and "provider=" not in line]
    shown = [name for name in options if not name.startswith("_")]
    rule = f"one of {', '.join(shown)}" if shown else "a file that exists"
    start = "" if where.startswith("hydra/") else f"conf/{where}.yaml: "
    return f"{start}{group or 'defaults'} must be {rule}, got {option}{_did_you_mean(nearest(option, shown))}"


def _short(path: str) -> str:
    file = Path(path)
    return str(file.relative_to(CONF.parent)) if file.is_relative_to(CONF.parent) else path


# ---------------------------------------------------------------------------------------------------- help

SENTENCES = (
    ("python train.py experiment=quickstart", "the miniature learns a style in minutes, on any laptop"),
    ("python train.py lora.rank=8 hardware=t4", "change a key, choose an option of a group"),
    ("python train.py data=folder data.path=my_pictures model=mini", "train on pictures of your own"),
    ("python train.py -m lora.rank=2,4,8", "one run for each value (-m: sweep)"),
    ("python train.py experiment=quickstart --cfg job", "show the configuration and run nothing"),
)
ENDING = """\
Text with commas, braces or # needs quotes inside quotes:  'data.caption="a {text}, drawn"'
A list:  'lora.targets=[to_q,to_v]'     nothing:  data.margin=null     another key's value:  'lora.alpha=${lora.rank}'
A callback of your own:  +callbacks.extra.mine._target_=my_module.MyCallback
Files of your own for the groups: put them into conf/, or say --config-dir my_conf.
Flags: --cfg job [--resolve], -m, --config-dir, --version; Hydra's: --hydra-help, --info, --shell-completion."""


def help_text(composer: Hydra, words: list[str]) -> str:
    """What can be typed: sentences, groups with their options, every key with type, default and meaning."""
    width = min(max(shutil.get_terminal_size((110, 24)).columns, 90), 120)
    groups = _groups(composer, [word for word in words if word.startswith("hydra.searchpath=")])
    lines = ["Fine-tune Stable Diffusion with LoRA on emoji art.", "", "What people type:", ""]
    lines += [f"  {sentence:<62}  {meaning}" for sentence, meaning in SENTENCES]
    lines += ["", "Running the same command again goes on where it stopped, or returns at once if it is finished.", ""]
    lines += ["Groups (* is composed if nothing is said):", ""]
    lines += _group_lines(groups, width)
    lines += ["", "Keys:"]
    lines += _key_lines(_defaults(composer, words), width)
    return "\n".join([*lines, "", ENDING])


def _group_lines(groups: Groups, width: int) -> Iterator[str]:
    column = max(len(f"{group}={option}") for group in groups.options for option in groups.options[group]) + 2
    for group in groups.options:
        if groups.defaults[group] is None:
            yield from _row(f"* {group}=null", column + 4, "none", width)
        for option in groups.shown(group):
            mark = "*" if option == groups.defaults[group] else " "
            meaning = _first_sentence(CONF / group / f"{option}.yaml")
            yield from _row(f"{mark} {group}={option}", column + 4, meaning, width)


def _row(left: str, column: int, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, width - column) or [""]
    start = f"  {left}".ljust(column)
    return [(start + wrapped[0]).rstrip(), *(" " * column + line for line in wrapped[1:])]


def _first_sentence(file: Path) -> str:
    """Of the comment at the top of a YAML file."""
    if not file.is_file():
        return ""
    comment: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            comment.append(line.lstrip("# ").strip())
    return re.split(r"(?<=\.) ", " ".join(comment), maxsplit=1)[0]


def _defaults(composer: Hydra, words: list[str]) -> tuple[DictConfig, DictConfig]:
    """The composed values twice, with the links between keys and without."""
    try:
        raw = _compose(composer, words)
    except COMPOSING_FAILS:
        raw = _compose(composer, [])
    resolved = raw.copy()
    with suppress(OmegaConfBaseException):
        OmegaConf.resolve(resolved)
    return raw, resolved


def _key_lines(defaults: tuple[DictConfig, DictConfig], width: int) -> Iterator[str]:
    values = {name: _shortened(_shown_default(name, *defaults)) for name in LEAVES}
    for _, grouped in itertools.groupby(LEAVES, lambda name: name.rpartition(".")[0]):
        names = list(grouped)
        first = max(map(len, names)) + 2
        second = max(len(values[name]) for name in names) + 2
        yield ""
        for name in names:
            entry, kind = LEAVES[name]
            meaning = f"{entry.metadata['meaning']}{_shown_type(kind, entry.metadata['limits'])}"
            yield from _row(f"{name:<{first}}{values[name]}", 2 + first + second, meaning, width)


def _shortened(value: str) -> str:
    return value if len(value) <= 26 else f"{value[:25]}…"


def _shown_type(kind: Any, limits: dict[str, float]) -> str:
    if kind is Any:
        return ""
    words = re.sub(r"^(an?|one of) ", "", described(kind))
    signs = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
    return f" [{words}{','.join(f' {signs[rule]} {limit}' for rule, limit in limits.items())}]"


def _shown_default(name: str, raw: DictConfig, resolved: DictConfig) -> str:
    section, _, last = name.rpartition(".")
    value = OmegaConf.select(resolved, name)
    text = "null" if value is None else value.name if isinstance(value, Enum) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    if OmegaConf.is_list(value) and value and isinstance(value[0], str):
        text = f"[{len(value)} texts]"
    node = OmegaConf.select(raw, section) if section else raw
    if OmegaConf.is_interpolation(node, last):
        link = str(OmegaConf.to_container(node, resolve=False)[last])[2:-1]  # type: ignore[index,call-overload]
        text = f"= {section}{link}" if link.startswith(".") else f"= {link}"
    return text
