"""`emote train --help`: what can be typed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.cli.components import component_lines
from emote.cli.composing import COMPOSING_FAILS, Composer
from emote.cli.groups import Groups, find_groups
from emote.cli.keys import LEAVES
from emote.cli.layout import key_rows, row, shown_type
from emote.config import as_text
from emote.util.errors import ConfigError
from emote.util.hints import did_you_mean, nearest
from emote.util.places import CONF, TRAIN

SENTENCES = (
    ("experiment=quickstart", "the miniature learns a style in minutes, on any laptop"),
    ("lora.rank=8 hardware=t4", "change a key, choose an option of a group"),
    ("data=folder data.path=my_images model=mini", "train on images of your own"),
    ("-m lora.rank=2,4,8", "one run for each value (-m: sweep)"),
    ("experiment=quickstart --cfg job", "show the configuration and run nothing"),
    ("--help lora", "the groups and keys about one word alone"),
)
ENDING = """\
Text with commas, braces or # needs quotes inside quotes:  'data.caption="a {text}, drawn"'
A list:  'lora.targets=[to_q,to_v]'     nothing:  data.margin=null     another key's value:  'lora.alpha=${lora.rank}'
A callback of your own:  +callbacks.extra.mine._target_=my_module.MyCallback
Files of your own for the groups: --config-dir my_conf, which is laid out as conf/ is.
Flags: --cfg job [--resolve] [--package lora], -m, --config-dir, --version."""


def help_text(composer: Composer, words: list[str]) -> str:
    """Return what can be typed: sentences, groups with their options, every key with type, default and meaning.

    words: `key=value` as typed, by which defaults are shown; of the others, only what is about one of them.
    Raises ConfigError where nothing is about these.
    """
    about = [word for word in words if "=" not in word]
    words = [word for word in words if "=" in word]
    groups = find_groups(composer, words)
    if about:
        return _about(about, groups, composer, words)
    lines = ["Fine-tune Stable Diffusion with LoRA on emoji art.", "", "What people type:", ""]
    lines += [f"  {f'{TRAIN} {sentence}':<62}  {meaning}" for sentence, meaning in SENTENCES]
    lines += ["", "Running the same command again goes on where it stopped, or returns at once if it is finished.", ""]
    lines += ["Groups (* is the default):", ""]
    lines += _group_lines(groups, groups.options)
    lines += ["", "Components, chosen by a key; docs/extending.md adds one with a file:", "", *component_lines()]
    lines += ["", "Keys:"]
    lines += _key_lines(LEAVES, *_defaults(composer, words))
    return "\n".join([*lines, "", ENDING])


def _about(about: list[str], groups: Groups, composer: Composer, words: list[str]) -> str:
    chosen = [group for group in groups.options if group in about]
    names = [name for name in LEAVES for word in about if name.startswith(f"{word}.") or word in name.split(".")]
    if not chosen and not names:
        names = [name for name in LEAVES for word in about if word.lower() in f"{name} {_meaning(name)}".lower()]
    if not chosen and not names:
        guess = nearest(about[0], [*groups.options, *LEAVES])
        raise ConfigError(f"no group or key is about {' '.join(about)}{did_you_mean(guess)}; --help alone lists all")
    lines = [*_group_lines(groups, chosen), *_key_lines(dict.fromkeys(names), *_defaults(composer, words))]
    return "\n".join(lines).lstrip("\n")


def _group_lines(groups: Groups, names: Iterable[str]) -> Iterator[str]:
    column = max(len(f"{group}={option}") for group in groups.options for option in groups.options[group]) + 6
    for group in names:
        if groups.defaults[group] is None:
            yield from row(f"* {group}=null", column, "none")
        for option in groups.shown(group):
            mark = "*" if option == groups.defaults[group] else " "
            yield from row(f"{mark} {group}={option}", column, _first_sentence(CONF / group / f"{option}.yaml"))


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


def _defaults(composer: Composer, words: list[str]) -> tuple[DictConfig, DictConfig]:
    """The composed values twice, with the links between keys and without."""
    try:
        raw = composer.compose(words)
    except COMPOSING_FAILS:
        raw = composer.compose([])
    resolved = raw.copy()
    with suppress(OmegaConfBaseException):
        OmegaConf.resolve(resolved)
    return raw, resolved


def _key_lines(names: Iterable[str], raw: DictConfig, resolved: DictConfig) -> Iterator[str]:
    for _, grouped in itertools.groupby(names, lambda name: name.rpartition(".")[0]):
        yield ""
        yield from key_rows((name, _shown_default(name, raw, resolved), _meaning(name)) for name in grouped)


def _meaning(name: str) -> str:
    entry, kind = LEAVES[name]
    return f"{entry.metadata['meaning']}{shown_type(kind, entry)}"


def _shown_default(name: str, raw: DictConfig, resolved: DictConfig) -> str:
    section, _, last = name.rpartition(".")
    value = OmegaConf.select(resolved, name)
    text = "null" if value is None else as_text(value)
    text = text.lower() if isinstance(value, bool) else text
    if OmegaConf.is_list(value) and value and isinstance(value[0], str):
        text = f"[{len(value)} texts]"
    node = OmegaConf.select(raw, section) if section else raw
    if OmegaConf.is_interpolation(node, last):
        link = str(OmegaConf.to_container(node, resolve=False)[last])[2:-1]  # type: ignore[index,call-overload]
        text = f"= {section}{link}" if link.startswith(".") else f"= {link}"
    return text
