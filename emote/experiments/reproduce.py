"""Run an experiment, and write what it measured beside what was reported and beside other experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emote.cli.train import compose_config
from emote.config import Config, key
from emote.experiments import reported
from emote.experiments.comparable import check_comparable
from emote.util.errors import ConfigError
from emote.util.quiet import quiet_libraries


@dataclass
class ReproduceOptions:
    against: list[str] = key(
        "experiments to run as well and to compare with by held-out loss, such as [stable_emote,best]", default=[]
    )


def reproduce(options: ReproduceOptions, words: list[str]) -> Path:
    """Run what the words of `emote train` say, and `against`; returns the table that is written beside the first one's
    deliverables. Raises ConfigError for mistakes, before anything is loaded."""
    others = [name.strip() for said in options.against for name in said.split(",")]
    names, composed = compose_each(words, others)
    as_reported = compose_config([f"experiment={reported.EXPERIMENT}"])
    quiet_libraries()
    from emote.experiments.reproduction import write_reproduction  # late: these import torch
    from emote.training.run import run

    delivered = [run(config, said) for config, said in composed]
    command = ["emote", "reproduce", *words]
    if others:
        command.append(f"against=[{','.join(others)}]")
    runs = {name: (config, path) for name, (config, _), path in zip(names, composed, delivered, strict=True)}
    return write_reproduction(runs, as_reported, command)


def compose_each(words: list[str], against: list[str]) -> tuple[list[str], list[tuple[Config, list[str]]]]:
    """The names of all experiments, the one in `words` first, and the configuration and words of each."""
    typed = [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    if len(typed) != 1:
        raise ConfigError(f"experiment= must be said once, got {len(typed)}; set experiment={reported.EXPERIMENT}")
    names = typed + against
    if len(set(names)) < len(names):
        raise ConfigError(f"against must name other experiments, each once, got {', '.join(against)}")
    composed = []
    for name in names:
        said = [f"experiment={name}" if word.startswith("experiment=") else word for word in words]
        composed.append((compose_config(said), said))
    for config, _ in composed[1:]:
        check_comparable(composed[0][0], config)
    return names, composed
