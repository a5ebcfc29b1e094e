"""Where a run is logged beside metrics.csv: one file a logger, each a Lightning logger.

It may also have `log_samples`, `log_delivery` and `close`, as Weights & Biases' has, and is then told of these.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger

from emote.config import LOGGER, Config, LoggerConfig
from emote.runs.metrics_file import COLUMNS
from emote.util.files import append_text

JUDGED = ("recognised_top5", "usable")  # of what the summary says of the images
NAMES = {
    "loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm",
    "stuck_share": "train/stuck_share", "validation_loss": "validation/loss", "seconds": "speed/seconds_per_step",
    "images_per_second": "speed/images_per_second", "host_peak_bytes": "memory/host_peak_bytes",
    "device_peak_bytes": "memory/device_peak_bytes",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """What a logger is told of its run. beside_others: while other runs of this process log too."""

    root: Path
    name: str
    identity: str
    beside_others: bool = False


def build_loggers(config: LoggerConfig, run: LoggedRun) -> list[Any]:
    """Return the loggers that `logger.to` names, but for those that the environment disables.

    Raises ConfigError where the package of one is missing.
    """
    built = [
        LOGGER.make(choice)() if isinstance(choice, Mapping) else LOGGER.make(choice, config.options)(config, run)
        for choice in config.to
    ]
    return [logger for logger in built if logger is not None]


def charted(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics under the names by which charts are grouped."""
    return {NAMES.get(name, name): value for name, value in metrics.items()}


def log_config(loggers: Sequence[Any], config: Config) -> None:
    """The resolved configuration."""
    for logger in loggers:
        logger.log_hyperparams(_plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.name if isinstance(value, Enum) else value


def log_samples(
    loggers: Sequence[Any], step: int, prompts: Sequence[str], seeds: Sequence[int],
    base: Sequence[Image.Image], tuned: Sequence[Image.Image],
) -> None:  # fmt: skip
    """Each prompt's images, of the base model and of the adapter."""
    for method in _methods(loggers, "log_samples"):
        method(step, prompts, seeds, base, tuned)


def log_delivery(loggers: Sequence[Any], config: Config, name: str, path: Path) -> None:
    """The images of a finished step count, and what else a logger keeps of it."""
    step = config.trainer.max_steps
    kinds = [sorted((path / "samples").glob(f"*-{kind}.png")) for kind in ("base", "fine-tuned")]
    prompts = config.callbacks.samples.prompts
    if loggers and prompts and len(kinds[0]) == len(kinds[1]) == len(prompts):
        base, tuned = ([Image.open(file).convert("RGB") for file in files] for files in kinds)
        seeds = [config.callbacks.samples.seed + i for i in range(len(prompts))]
        log_samples(loggers, step, prompts, seeds, base, tuned)
    if images := json.loads((path / "summary.json").read_text(encoding="utf-8")).get("images"):
        kinds_judged = [(kind, key) for kind in ("base", "fine_tuned") for key in JUDGED]
        for logger in loggers:
            logger.log_metrics({f"images/{kind}_{key}": images[kind][key]["value"] for kind, key in kinds_judged}, step)
    for method in _methods(loggers, "log_delivery"):
        method(config.logger, name, path, step)


def finish(loggers: Sequence[Any]) -> None:
    """Close them: a second logger in one process would otherwise go on with the first one's run."""
    for logger in loggers:
        logger.finalize("success")
    for method in _methods(loggers, "close"):
        method()


def _methods(loggers: Sequence[Any], name: str) -> list[Callable[..., Any]]:
    return [getattr(logger, name) for logger in loggers if hasattr(logger, name)]


class OwnMetrics(Logger):
    """What callbacks of one's own log beside the columns of metrics.csv, a JSON object a line."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "own"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Nothing: config.yaml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        own = {name: value for name, value in metrics.items() if name not in {*COLUMNS, *NAMES, "epoch"}}
        if own:
            append_text(self.path, json.dumps({"step": step, **own}) + "\n")
