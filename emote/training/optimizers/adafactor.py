"""Adafactor with the learning rate of the schedule: second moments as row and column means (arXiv 1804.04235)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emote.config import TrainerConfig, key

if TYPE_CHECKING:
    import torch


@dataclass
class Options:
    clip_threshold: float = key("clip the root mean square of an update to this", default=1.0, above=0)
    decay_rate: float = key("exponent of the second moment's decay over the steps", default=-0.8, below=0)


def build_optimizer(groups: list[dict[str, Any]], config: TrainerConfig, options: Options) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    return Adafactor(
        groups,
        lr=config.learning_rate,
        clip_threshold=options.clip_threshold,
        decay_rate=options.decay_rate,
        weight_decay=config.weight_decay,
        scale_parameter=False,
        relative_step=False,
    )
