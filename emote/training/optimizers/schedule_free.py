"""Schedule-free AdamW: an average of the weights in place of a schedule (arXiv 2405.15682).

It trains other weights than those that are scored, drawn with and delivered: see `LoraModule.evaluation_weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emote.config import TrainerConfig, key

if TYPE_CHECKING:
    import torch

PACKAGE = "schedulefree"


@dataclass
class Options:
    averaging_power: float = key("power of its step by which a weight counts in the average", default=0.0, at_least=0)
    weight_lr_power: float = key("power of its learning rate by which it does", default=2.0, at_least=0)


def build_optimizer(groups: list[dict[str, Any]], config: TrainerConfig, options: Options) -> torch.optim.Optimizer:
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(
        groups,
        lr=config.learning_rate,
        betas=(config.betas[0], config.betas[1]),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        r=options.averaging_power,
        weight_lr_power=options.weight_lr_power,
        foreach=False,
    )
