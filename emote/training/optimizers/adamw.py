"""Adam with decoupled weight decay (arXiv 1711.05101)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emote.config import TrainerConfig, key

if TYPE_CHECKING:
    import torch


@dataclass
class Options:
    amsgrad: bool = key("divide by the largest second moment so far (arXiv 1904.09237)", default=False, before=False)


def build_optimizer(groups: list[dict[str, Any]], config: TrainerConfig, options: Options) -> torch.optim.Optimizer:
    from torch.optim import AdamW

    return AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.betas[0], config.betas[1]),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        amsgrad=options.amsgrad,
    )
