"""How adapters are drawn with that were made to draw in a few steps: which sampler, how many steps, which guidance.

Imports no torch, so that a mistake is found at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FEW = ("lcm", "tcd")  # samplers that are right for such adapters alone
MOST_OF_FEW = 50  # steps that these samplers have in all


@dataclass(frozen=True)
class FewSteps:
    """family: for people. source: where the settings are from. least, most: steps that make sense.

    guidance: the least and most that make sense, 1 and below being none. eta: how much of the noise is drawn anew.
    """

    family: str
    source: str
    scheduler: str
    steps: int
    least: int
    most: int
    guidance_scale: float = 1.0
    guidance: tuple[float, float] = (0.0, 1.0)
    eta: float | None = None

    def settings(self, steps: int | None = None) -> dict[str, Any]:
        """Return what a Request is drawn with. steps: others than the usual ones."""
        return {"inference_steps": steps or self.steps, "guidance_scale": self.guidance_scale,
                "scheduler": self.scheduler, "eta": self.eta}  # fmt: skip


LCM = FewSteps("latent consistency", "arXiv 2311.05556", "lcm", 4, 1, 8, guidance=(0.0, 2.0))
TCD = FewSteps("TCD", "arXiv 2402.19159", "tcd", 4, 2, 50, eta=0.3)
HYPER = "huggingface.co/ByteDance/Hyper-SD"
HYPER_UNIFIED = FewSteps("Hyper-SD, unified", HYPER, "tcd", 1, 1, 8, eta=1.0)
OBJECTIVES = {"lcm": LCM}  # what was trained here

_HYPER = re.compile(r"hyper[-_ ]?sd.*?(\d+)[-_ ]?steps?(?:[-_ ](cfg))?")
_LCM = re.compile(r"(?<![a-z])(lcm|latent[-_ ]consistency)(?![a-z])")
_TCD = re.compile(r"(?<![a-z])tcd(?![a-z])")


def few_steps_of(*names: str) -> FewSteps | None:
    """Return how an adapter is drawn with that is called so: its file, its Hub name, its title; None for any other.

    Published files say what they are in their names alone.
    """
    text = " ".join(names).lower()
    if found := _HYPER.search(text):
        steps = int(found[1])
        if found[2]:
            return FewSteps(f"Hyper-SD, {steps} steps with guidance", HYPER, "ddim_trailing", steps, steps, steps,
                            guidance_scale=5.0, guidance=(5.0, 8.0))  # fmt: skip
        if steps == 1:
            return HYPER_UNIFIED
        return FewSteps(f"Hyper-SD, {steps} steps", HYPER, "ddim_trailing", steps, steps, steps)
    if _TCD.search(text):
        return TCD
    return LCM if _LCM.search(text) else None


def advice(few: FewSteps | None, scheduler: str, steps: int, guidance_scale: float, eta: float | None) -> Iterator[str]:
    """Yield what of typed settings makes no sense with an adapter, each with what to set."""
    if few is None:
        if scheduler in FEW:
            yield (
                f"scheduler={scheduler} is for adapters that draw in a few steps, and none is in use: images will be "
                "flat or unfinished; leave scheduler= out"
            )
        return
    what = f"an adapter of {few.family}"
    if scheduler != few.scheduler:
        yield f"{what} is drawn with scheduler={few.scheduler} ({few.source}), got {scheduler}; leave scheduler= out"
    if not few.least <= steps <= few.most:
        wanted = f"{few.least}" if few.least == few.most else f"{few.least} to {few.most}"
        yield f"{what} is made for {wanted} steps, got {steps}: more gain nothing; set inference_steps={few.steps}"
    low, high = few.guidance
    if not low <= guidance_scale <= high:
        wanted = f"guidance {max(low, 1):g} to {high:g}" if high > 1 else "no guidance (guidance_scale=1)"
        yield f"{what} is made for {wanted}, got {guidance_scale:g}; set guidance_scale={few.guidance_scale:g}"
    if eta is not None and few.eta is None:
        yield f"eta={eta:g} has no place in {what}; leave eta= out"
