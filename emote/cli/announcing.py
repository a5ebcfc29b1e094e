"""What is told, but no mistake, before a run begins: how typed options and the experiment share their keys."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from omegaconf import OmegaConf

from emote.cli.composing import COMPOSING_FAILS, Composer
from emote.cli.groups import Groups
from emote.cli.keys import LEAVES, flat
from emote.config import as_text

LONGEST_VALUE = 40


def announce(composer: Composer, words: list[str], groups: Groups) -> None:
    """A line for each typed option beside an experiment: what the experiment sets that the option does not, and which
    hardware it pins."""
    experiment = next((word for word in reversed(words) if word.startswith("experiment=")), "experiment=null")
    if experiment == "experiment=null":
        return
    typed = {word.partition("=")[0] for word in words}
    with suppress(*COMPOSING_FAILS):  # told already
        with_it, without = (_raw(composer, w) for w in (words, [word for word in words if word != experiment]))
        for option in composer.typed_options(words):
            beyond = [
                _shown(name, with_it.get(name))
                for name in LEAVES
                if name.startswith(f"{option.group}.") and name not in option.keys() | typed
                if with_it.get(name) != without.get(name)
            ]
            told = [f"{experiment} sets beside it {', '.join(beyond)}"] if beyond else []
            if option.group == "hardware":
                rest = [word for word in words if not word.startswith("hardware=")]
                pinned = composer.with_hydra(rest).hydra.runtime.choices["hardware"]
                told += [f"the experiment pins hardware={pinned}"] * (
                    pinned not in (groups.defaults["hardware"], option.name)
                )
            for line in told:
                print(f"note: {option.group}={option.name} as typed; {line}", file=sys.stderr)


def _raw(composer: Composer, words: list[str]) -> dict[str, Any]:
    """Values by key, with their links: what follows another key is not set by an experiment."""
    content: Any = OmegaConf.to_container(composer.compose(words), resolve=False)
    return dict(flat(content, ""))


def _shown(name: str, value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else as_text(value)
    return f"{name}={text}" if len(text) <= LONGEST_VALUE else name
