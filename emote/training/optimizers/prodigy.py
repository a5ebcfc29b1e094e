"""Prodigy: Adam that finds its own learning rate, beside trainer.learning_rate=1 (arXiv 2306.06101)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emote.config import TrainerConfig, key

if TYPE_CHECKING:
    import torch

PACKAGE = "prodigyopt"


@dataclass
class Options:
    d_coef: float = key("scale of the learning rate that it finds", default=1.0, above=0)
    bias_correction: bool = key("correct the bias of Adam's moments at the start", default=True)
    safeguard_warmup: bool = key("do not let a warm-up make the learning rate that it finds too large", default=True)


def problems(config: TrainerConfig) -> Iterator[str]:
    if config.learning_rate < 0.1:
        yield (
            "trainer.learning_rate scales what trainer.optimizer=prodigy finds and must be about 1, "
            f"got {config.learning_rate}; set trainer.learning_rate=1"
        )
    if config.lora_plus_ratio is not None:
        yield (
            "trainer.lora_plus_ratio gives B another learning rate, and trainer.optimizer=prodigy finds one for all, "
            f"got {config.lora_plus_ratio}; set trainer.lora_plus_ratio=null"
        )


def build_optimizer(groups: list[dict[str, Any]], config: TrainerConfig, options: Options) -> torch.optim.Optimizer:
    from prodigyopt import Prodigy

    return Prodigy(
        groups,
        lr=config.learning_rate,
        betas=(config.betas[0], config.betas[1]),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        d_coef=options.d_coef,
        use_bias_correction=options.bias_correction,
        safeguard_warmup=options.safeguard_warmup,
    )
