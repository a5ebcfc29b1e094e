"""Weights & Biases: online where there is a key, else offline; never a question, never another run's log."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from emote.config import ConfigError, LoggerConfig
from emote.training.say import say


def build_loggers(config: LoggerConfig, root: Path, name: str, identity: str) -> list[Any]:
    """Lightning loggers of a run. A resumed run has the same W&B id. Raises ConfigError without the package."""
    if not config.wandb:
        return []
    try:
        import wandb  # noqa: F401
        from pytorch_lightning.loggers import WandbLogger
    except ImportError as error:
        raise ConfigError(
            'logger=wandb needs the package wandb: pip install "emote[wandb]"; or say logger=csv'
        ) from error
    online = has_key() and os.environ.get("WANDB_MODE", "online") == "online"
    if not online:
        say(f"W&B: offline; later: wandb sync --append {root}/wandb/offline-run-*")
    os.environ.setdefault("WANDB_SILENT", "true")  # it would print a table of what metrics.csv holds
    return [
        WandbLogger(
            name=name,
            id=identity,
            project=config.project,
            entity=config.entity,
            save_dir=str(root),
            offline=not online,
            resume="allow",
        )
    ]


def finish(loggers: list[Any]) -> None:
    """Close them: a second logger in one process would otherwise go on with the first one's run."""
    for logger in loggers:
        logger.experiment.finish()


def has_key() -> bool:
    """Whether W&B would find a key: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
