"""`python train.py --help`: what can be typed."""

from __future__ import annotations

import itertools
import re
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.cli.components import component_lines
from emote.cli.composing import COMPOSING_FAILS, CONF, compose
from emote.cli.groups import Groups, find_groups
from emote.cli.keys import LEAVES, described
from emote.config import as_text

SENTENCES = (
    ("python train.py experiment=quickstart", "the miniature learns a style in minutes, on any laptop"),
    ("python train.py lora.rank=8 hardware=t4", "change a key, choose an option of a group"),
    ("python train.py data=folder data.path=my_images model=mini", "train on images of your own"),
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
    groups = find_groups(composer, words)
    lines = ["Fine-tune Stable Diffusion with LoRA on emoji art.", "", "What people type:", ""]
    lines += [f"  {sentence:<62}  {meaning}" for sentence, meaning in SENTENCES]
    lines += ["", "Running the same command again goes on where it stopped, or returns at once if it is finished.", ""]
    lines += ["Groups (* is composed if nothing is said):", ""]
    lines += _group_lines(groups, width)
    lines += ["", "Components, chosen by a key; docs/extending.md adds one with a file:", "", *component_lines()]
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
        raw = compose(composer, words)
    except COMPOSING_FAILS:
        raw = compose(composer, [])
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
            meaning = f"{entry.metadata['meaning']}{_shown_type(kind, entry)}"
            yield from _row(f"{name:<{first}}{values[name]}", 2 + first + second, meaning, width)


def _shortened(value: str) -> str:
    return value if len(value) <= 26 else f"{value[:25]}…"


def _shown_type(kind: Any, entry: Any) -> str:
    limits = entry.metadata["limits"]
    if kind is Any and not (entry.metadata["kind"] or entry.metadata["word"]):
        return ""
    words = re.sub(r"^(an?|one of) ", "", described(kind, entry))
    signs = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
    return f" [{words}{','.join(f' {signs[rule]} {limit}' for rule, limit in limits.items())}]"


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
