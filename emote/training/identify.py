"""Which run a configuration asks for, and where it is kept, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from emote.config import Config, DataConfig, get, schema_keys
from emote.data.prepared import Scan, scan
from emote.diffusion.samplers import scheduler_named
from emote.lora.peft_partner import check_torchao
from emote.lora.warm_start import warm_start_key
from emote.models import components
from emote.models.precision import Decision, decide
from emote.runs.identity import identity, identity_keys
from emote.runs.run_folder import RunFolder
from emote.runs.siblings import facts_of
from emote.util.errors import ConfigError
from emote.util.registry import resolve_target


@dataclass(frozen=True)
class Identified:
    """A run as it is known before a weight is loaded.

    base: the base model.  found: its images.  weights: fingerprints of what the adapter rests on.
    """

    decision: Decision
    base: Path
    found: Scan
    weights: dict[str, str]
    folder: RunFolder

    @property
    def name(self) -> str:
        return self.folder.root.name

    def facts(self, config: Config) -> dict[str, Any]:
        """Return what the identity is made of, as it is kept beside the run."""
        return facts_of(self.folder.identity, identity_keys(config), self.found.identity, self.weights)


def identify(config: Config, scan: Callable[[DataConfig], Scan] = scan) -> Identified:
    """Return which run this is, and where it is kept; nothing is written there.

    scan: as `emote.data.prepared.scan`. Raises ConfigError for what can be told without loading: places that cannot be
    written to, a device that is not there, a base model or images that cannot be read.
    """
    check_torchao()
    _check_writable(config)
    _check_components(config)
    decision, base = _hardware_and_model(config)
    found = scan(config.data)
    weights = {
        part: components.fingerprint(base, part, variant=config.model.variant, cache_dir=Path(config.run.cache_dir))
        for part in ("unet", "vae", "text_encoder")
    } | warm_start_key(config.lora)
    name = f"{config.name}-{identity(config, found.identity, weights)}"
    return Identified(decision, base, found, weights, RunFolder(Path(config.run.dir) / name))


def _check_components(config: Config) -> None:
    """What is chosen by a name or a `_target_` exists, and the packages that it needs."""
    problems: list[str] = []
    chosen = [(name, entry.metadata["kind"], get(config, name)) for name, entry, _ in schema_keys()]
    checks: list[Callable[[], object]] = [
        (partial(kind.require, name, choice))
        for name, kind, value in chosen
        if kind
        for choice in (value if isinstance(value, list) else [value])
    ]
    checks.append(partial(scheduler_named, config.callbacks.samples.scheduler, "callbacks.samples.scheduler"))
    for name, node in config.callbacks.extra.items():
        checks.append(partial(resolve_target, f"callbacks.extra.{name}", node.get("_target_")))
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += str(error).splitlines()
    if problems:
        raise ConfigError("\n".join(problems))


def _hardware_and_model(config: Config) -> tuple[Decision, Path]:
    """Both are looked at before either is complained about."""
    complaints: list[str] = []
    found: list[Any] = []
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: decide(config.trainer.precision, config.trainer.accelerator, devices=config.trainer.devices),
        lambda: components.locate(config.model),
    )
    for attempt in attempts:
        try:
            found.append(attempt())
        except ConfigError as error:
            complaints += [line for line in str(error).splitlines() if line not in complaints]
    if complaints:
        advice = [line for line in complaints if line.startswith("here works:")]
        raise ConfigError("\n".join([*(line for line in complaints if line not in advice), *advice[:1]]))
    return found[0], found[1]


def _check_writable(config: Config) -> None:
    """Before anything is loaded: a run of hours must not find out at its first checkpoint."""
    problems = []
    for key, directory in (("run.dir", config.run.dir), ("run.cache_dir", config.run.cache_dir)):
        wanted = Path(directory).absolute()
        there = next(path for path in (wanted, *wanted.parents) if path.exists())
        try:
            with TemporaryFile(dir=there):  # nothing is made yet: a run may still be refused
                pass
        except OSError as error:
            problems.append(f"{key} must be a directory that can be written to, got {directory} ({error.strerror})")
    if problems:
        raise ConfigError("\n".join(problems))
