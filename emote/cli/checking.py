"""Everything that is wrong with a command line, before anything is started: words, files, and what they compose to."""

from __future__ import annotations

import itertools
import math
import sys
from contextlib import suppress
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode

from emote.cli.checking_files import check_files
from emote.cli.checking_words import check_words
from emote.cli.composing import (
    COMPOSING_FAILS,
    compose_job,
    compose_with_hydra,
    files_of,
    sweep_of_files,
    without_hydra,
)
from emote.cli.explaining import explained
from emote.cli.findings import Findings
from emote.cli.groups import Groups, find_groups
from emote.config import problems, to_dataclass
from emote.util.errors import ConfigError, together

MOST_COMBINATIONS = 48  # of a sweep that are composed beforehand


def check(composer: Hydra, words: list[str], sweep: bool) -> Findings:
    """Compare the words with the schema and the composed values with their rules: are they a sweep, what is composed.
    Raises ConfigError with everything that is wrong, not only the first."""
    found = Findings(sweep or "hydra.mode=MULTIRUN" in words)
    groups = find_groups(composer, words)
    check_words(composer, words, groups, found)
    _check_sweep_of_files(composer, groups, found)
    for word, hint in found.several.items() if not found.sweep else ():
        found.add(f"{word} has several values: add -m to run each{hint}", word.partition("=")[0])
    for combination in _combinations(found.meant):
        if check_files(composer, combination, found):
            _check_composed(composer, combination, found)
            _check_data_counts(composer, combination, found)
    if found.mistakes:
        raise ConfigError(together(found.mistakes))
    _announce_hardware(composer, words, groups)
    return found


def _check_sweep_of_files(composer: Hydra, groups: Groups, found: Findings) -> None:
    """An experiment may bring its sweep along, as hydra.sweeper.params, and say hydra.mode: MULTIRUN."""
    files = files_of(found.first)
    try:
        composed = compose_with_hydra(composer, files)
    except COMPOSING_FAILS:
        return  # what is wrong comes to light below
    found.composed[tuple(files)] = without_hydra(composed)
    found.sweep = found.sweep or composed.hydra.mode is RunMode.MULTIRUN
    if composed.hydra.runtime.choices["hydra/sweeper"] == "basic" and (swept := sweep_of_files(composed)):
        typed = {word.partition("=")[0] for word in found.first}
        check_words(composer, [word for word in swept if word.partition("=")[0] not in typed], groups, found)


def _combinations(values: list[list[str]]) -> list[list[str]]:
    """All jobs of a sweep; of a large one, each value once beside the first of the others, as far as time allows."""
    if math.prod(map(len, values)) <= MOST_COMBINATIONS:
        return [list(job) for job in itertools.product(*values)]
    first = [each[0] for each in values]
    singles = [[*first[:i], v, *first[i + 1 :]] for i, each in enumerate(values) for v in each[1:]]
    return [first, *singles][:MOST_COMBINATIONS]


def _check_composed(composer: Hydra, words: list[str], found: Findings) -> None:
    try:
        lines = problems(to_dataclass(compose_job(composer, words, found.composed)))
    except COMPOSING_FAILS as error:
        lines = [explained(error)]
    for line in lines:
        if line.split(" ")[0].rstrip(":") not in found.suspects:  # said already, or a consequence of it
            found.add(line)


def _check_data_counts(composer: Hydra, words: list[str], found: Findings) -> None:
    """An experiment that names its source itself would overrule a data= that is typed, without a word."""
    said = [word for word in words if word.startswith("data=")]
    if not said or not any(word.startswith("experiment=") for word in words):
        return
    if any(word.startswith("data.source=") for word in words):
        return
    with suppress(*COMPOSING_FAILS):  # told already
        wanted = compose_job(composer, said, found.composed).data.source
        source = compose_job(composer, words, found.composed).data.source
        if source != wanted:
            found.add(
                f"{said[0]} would have no effect: the experiment names data.source={source}; "
                f"set data.source={wanted} as well, or another experiment"
            )


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
