"""The rows of a comparison, from words to configurations, and what their adapters lose on held-out images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from emote.cli.train import compose_config
from emote.experiments.variants import Variant
from emote.runs.metrics_file import MetricsFile
from emote.util.errors import ConfigError

# of all runs: the adapters are scored afterwards, all alike, and nothing is drawn
QUIET = (
    "callbacks.samples.prompts=[]", "callbacks.samples.every_steps=null", "callbacks.validation.max_items=16",
    "callbacks.validation.every_steps=100000", "callbacks.evaluation.prompts=0", "logger=csv",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """words: what it adds to those that all rows have."""

    name: str
    words: tuple[str, ...] = ()


def plan_rows(title: str, rows: Sequence[Row], common: Sequence[str], seeds: Sequence[int]) -> list[Variant]:
    """All runs, seed by seed. Raises ConfigError, before anything is loaded, for what is wrong in any of them."""
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ConfigError(f"seeds must differ and be at least one, got {list(seeds)}")
    taken = {word.partition("=")[0] for row in rows for word in row.words} | {"seed", "name"}
    if twice := [word for word in common if word.partition("=")[0] in taken]:
        raise ConfigError(f"{twice[0]}: the comparison sets that itself; leave it out")
    found = []
    for seed in seeds:
        for row in rows:
            called = re.sub("[^a-z0-9]+", "-", row.name.lower()).strip("-")
            words = [*common, *row.words, f"name={title}-{called}", f"seed={seed}"]
            found.append(Variant(row.name, None, seed, compose_config(words), words))
    if not found[0].config.data.held_out:
        raise ConfigError("data.held_out must be above 0 for a comparison, got 0")
    return found


def with_experiment(words: Sequence[str], experiment: str, defaults: Sequence[str] = ()) -> list[str]:
    """Return the words that all rows have: those that were typed, and where they say nothing else an experiment, QUIET
    and `defaults`."""
    typed = {word.partition("=")[0] for word in words}
    first = [f"experiment={experiment}", *QUIET, *defaults]
    return [*(word for word in first if word.partition("=")[0] not in typed), *words]


def seconds_of(path: Path) -> float:
    """Return the seconds of all steps that lead to a step count's deliverables, each as long as the median one.

    What else the machine did for a while is left out.
    """
    seconds = step_seconds(path)
    return len(seconds) * median(seconds) if seconds else 0.0


def step_seconds(path: Path) -> list[float]:
    """Return the seconds of each step that led to a step count's deliverables."""
    return [row["seconds"] for row in MetricsFile(path / "metrics.csv").rows() if "seconds" in row]


def mean(losses: Sequence[Sequence[float]]) -> float:
    """Over seeds and images."""
    return fmean(fmean(values) for values in losses)
