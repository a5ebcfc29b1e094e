"""What `python train.py` and `emote train` call: flags, and the exit code, which is 1 for a sweep with failures."""

from __future__ import annotations

import argparse
import re
import typing
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import OmegaConf

from emote import __version__
from emote.cli.check.command_line import check
from emote.cli.composing import Composer, hydra_over_conf
from emote.cli.explaining import explained
from emote.cli.guard import guarded
from emote.cli.help_text import help_text
from emote.cli.keys import LEAVES
from emote.cli.peers import peer_key
from emote.cli.running import run_single, run_sweep
from emote.cli.typed_text import as_typed
from emote.config import Config, to_dataclass
from emote.util.errors import ConfigError, together
from emote.util.hints import did_you_mean, nearest
from emote.util.places import TRAIN


def main(argv: list[str]) -> int:
    """Do what the words say; returns the exit code. Unforeseen exceptions of a single run are raised as they are."""
    return guarded(lambda: _main(argv))


def _main(argv: list[str]) -> int:
    flags = _read_flags(argv)
    try:
        with hydra_over_conf() as composer:
            return _dispatch(composer, flags)
    except HydraException as error:  # not a job's: jobs raise their own
        raise ConfigError(explained(error)) from error


def compose_config(words: list[str]) -> Config:
    """The checked configuration that the words of a command line compose to; raises ConfigError with all mistakes."""
    with hydra_over_conf() as composer:
        found = check(composer, as_typed(words, composer.parser), sweep=False)
        return to_dataclass(composer.compose(found.first))


def _dispatch(composer: Composer, flags: argparse.Namespace) -> int:
    words = as_typed(flags.words, composer.parser)
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
            raise ConfigError("--cfg shows one configuration: leave out -m, and use one value for each key")
        check(composer, words, sweep=False)
        shown = OmegaConf.select(composer.compose(words), flags.package) if flags.package else composer.compose(words)
        print(OmegaConf.to_yaml(shown, resolve=flags.resolve), end="")
    elif flags.resolve or flags.package:
        raise ConfigError(f"--resolve and --package go with --cfg: {TRAIN} --cfg job --resolve")
    elif check(composer, words, sweep=flags.multirun).sweep:
        return run_sweep(composer, words)
    else:
        run_single(composer, words)
    return 0


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(f"{message}\n`{TRAIN} --help` explains what can be typed")


def _read_flags(argv: list[str]) -> argparse.Namespace:
    parser = _Flags(prog="train", add_help=False, allow_abbrev=False)
    for names in ("--help -h", "--version", "--multirun -m", "--resolve"):
        parser.add_argument(*names.split(), action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("words", nargs="*")
    flags, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise ConfigError(
            together([f"unknown flag {word}{did_you_mean(_without_dashes(word, parser))}" for word in unknown])
        )
    return flags


def _without_dashes(word: str, parser: argparse.ArgumentParser) -> str | None:
    bare = word.lstrip("-")
    name, equals, value = bare.partition("=")
    if meant := peer_key(name, LEAVES):
        return f"{meant}={value if equals else '…'}"
    if re.match(r"[\w./]+=", bare) or bare in LEAVES:
        return bare if "=" in bare else f"{bare}=…"
    return nearest(word, [flag for flag in parser._option_string_actions if flag.startswith("--")])
