"""An exponential moving average of the weights, kept by any optimizer and delivered in their place."""

from __future__ import annotations

from typing import Any

import torch

AVERAGE, COUNT = "ema", "ema_steps"  # in the optimizer's state, so a checkpoint holds them


def keep_average(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Have an optimizer keep the average of what it trains, and give it `eval()` and `train()`.

    After `eval()` the parameters are the average, after `train()` what is trained again. The decay of step n is
    min(decay, (1 + n) / (10 + n)), so that the start is forgotten soon (as TensorFlow's ExponentialMovingAverage). The
    average is in the parameters' own dtype.
    """

    def parameters() -> list[torch.nn.Parameter]:
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def update(*_: Any) -> None:
        for parameter in parameters():
            state = optimizer.state[parameter]
            if AVERAGE not in state:
                state[AVERAGE], state[COUNT] = parameter.detach().clone(), 0
            state[COUNT] += 1
            now = min(decay, (1 + state[COUNT]) / (10 + state[COUNT]))
            state[AVERAGE].lerp_(parameter.detach(), 1 - now)

    trained: dict[torch.nn.Parameter, torch.Tensor] = {}

    @torch.no_grad()
    def evaluate() -> None:
        for parameter in parameters():
            if parameter not in trained and AVERAGE in optimizer.state.get(parameter, {}):
                trained[parameter] = parameter.detach().clone()
                parameter.copy_(optimizer.state[parameter][AVERAGE])

    @torch.no_grad()
    def train() -> None:
        for parameter, values in trained.items():
            parameter.copy_(values)
        trained.clear()

    optimizer.register_step_post_hook(update)
    optimizer.eval, optimizer.train = evaluate, train  # type: ignore[attr-defined]
