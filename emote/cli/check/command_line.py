"""Everything that is wrong with a command line, before anything is started: words, files, and what they compose to."""

from __future__ import annotations

import itertools
import math
import sys

from emote.cli.announcing import announce
from emote.cli.check.files import check_files
from emote.cli.check.findings import Findings
from emote.cli.check.words import check_words
from emote.cli.composing import COMPOSING_FAILS, Composer, sweep_of_files
from emote.cli.explaining import explained
from emote.cli.groups import Groups, find_groups
from emote.config import problems, to_dataclass
from emote.util.errors import ConfigError, together

MOST_COMBINATIONS = 48  # of a sweep that are composed beforehand


def check(composer: Composer, words: list[str], sweep: bool) -> Findings:
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
    if found.mistakes:
        raise ConfigError(together(found.mistakes))
    announce(composer, found.first, groups)
    for line in dict.fromkeys(found.notes):
        print(f"note: {line}", file=sys.stderr)
    return found


def _check_sweep_of_files(composer: Composer, groups: Groups, found: Findings) -> None:
    """An experiment may bring its sweep along, as hydra.sweeper.params, and say hydra.mode: MULTIRUN."""
    try:
        composed = composer.with_hydra(found.first)
    except COMPOSING_FAILS:
        return  # what is wrong comes to light below
    found.sweep = found.sweep or getattr(composed.hydra.mode, "name", "") == "MULTIRUN"
    if swept := sweep_of_files(composed):
        typed = {word.partition("=")[0] for word in found.first}
        check_words(composer, [word for word in swept if word.partition("=")[0] not in typed], groups, found)


def _combinations(values: list[list[str]]) -> list[list[str]]:
    """All jobs of a sweep; of a large one, each value once beside the first of the others, as far as time allows."""
    if math.prod(map(len, values)) <= MOST_COMBINATIONS:
        return [list(job) for job in itertools.product(*values)]
    first = [each[0] for each in values]
    singles = [[*first[:i], v, *first[i + 1 :]] for i, each in enumerate(values) for v in each[1:]]
    return [first, *singles][:MOST_COMBINATIONS]


def _check_composed(composer: Composer, words: list[str], found: Findings) -> None:
    try:
        lines = problems(to_dataclass(composer.compose(words)))
    except COMPOSING_FAILS as error:
        lines = [explained(error)]
    for line in lines:
        if line.split(" ")[0].rstrip(":") not in found.suspects:  # said already, or a consequence of it
            found.add(line)
