"""Loss scaling for fp16 whose decisions stay on the device, so that no step waits for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

START, GROWTH, BACKOFF, INTERVAL = 65536.0, 2.0, 0.5, 2000  # as torch's GradScaler


def steps_left_out(scaler: torch.amp.GradScaler) -> int:
    """By a scaler that started at 65536 and has not grown yet, from its scale: asking at each step would wait."""
    return round(math.log2(START / scaler.get_scale())) if scaler.is_enabled() else 0


class DeviceScaler:
    """As `torch.amp.GradScaler`; the optimizer must be a fused one, which leaves a step out by a tensor."""

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), START, device=device)
        self.skipped = torch.zeros((), device=device)
        self._found_inf = torch.zeros((), device=device)
        self._since_growth = torch.zeros((), dtype=torch.int32, device=device)

    def unscale(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Divide the gradients, in place, by the scale; returns 1 where one of them is not finite, else 0."""
        self._found_inf.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_(list(gradients), self._found_inf, self.scale.reciprocal())
        return self._found_inf

    def update(self) -> None:
        """Halve the scale after a step that was left out, double it after many that were not."""
        self.skipped += self._found_inf
        torch._amp_update_scale_(self.scale, self._since_growth, self._found_inf, GROWTH, BACKOFF, INTERVAL)
