"""Huber loss: squared error up to `delta`, growing evenly beyond (Huber 1964, doi 10.1214/aoms/1177703732).

Single large errors, such as those of images that are unlike the rest, then pull less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emote.config import key

if TYPE_CHECKING:
    import torch

    from emote.diffusion import objective


@dataclass
class Options:
    delta: float = key("error of one entry from which on it grows evenly", default=0.1, above=0)


def training_error(drawn: objective.Drawn, options: Options) -> torch.Tensor:
    """Return the error of each sample [B]; that of small errors is their square, as for mse."""
    import torch.nn.functional as F

    predicted_BCHW, wanted_BCHW = drawn.answer_and_target()
    error_BCHW = 2 * F.huber_loss(predicted_BCHW.float(), wanted_BCHW.float(), reduction="none", delta=options.delta)
    return drawn.mean(error_BCHW)
