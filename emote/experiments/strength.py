"""How strong should an adapter be used? As strong as its style needs and its subjects bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emote.evaluation.jackknife import LeaveOneOut, combine
from emote.evaluation.measures import Figures
from emote.evaluation.mmd import share_of_way

AS_TRAINED = 1.0


@dataclass(frozen=True)
class CurvePoint:
    """What was seen at one strength and guidance. base: of the base model at the same guidance."""

    lora_scale: float
    guidance_scale: float
    figures: Figures
    base: Figures

    @property
    def recognised(self) -> LeaveOneOut:
        return self.figures["recognised_top5"]

    @property
    def kept(self) -> LeaveOneOut:
        """Recognised within five, as a share of the base's, at most 1."""
        return combine(_kept, self.recognised, self.base["recognised_top5"])

    @property
    def share(self) -> LeaveOneOut:
        """Of the way to the real style."""
        return combine(share_of_way, self.figures["style_mmd2"], self.base["style_mmd2"])

    @property
    def score(self) -> LeaveOneOut:
        """The harmonic mean of `kept` and `share`: high where both are."""
        return combine(_harmonic, self.kept, self.share)

    def as_dict(self) -> dict[str, Any]:
        shown = {"recognised_top5": self.recognised, "kept": self.kept, "style_share": self.share, "score": self.score}
        return {
            "lora_scale": self.lora_scale,
            "guidance_scale": self.guidance_scale,
            **{name: figure.estimate().as_dict() for name, figure in shown.items()},
        }


@dataclass(frozen=True)
class Recommended:
    """reason: a sentence for people."""

    lora_scale: float
    guidance_scale: float
    reason: str


def recommend(points: Sequence[CurvePoint]) -> Recommended | None:
    """Of all points within one standard error of the highest score, the one that is nearest to the adapter as trained.

    The error is that of the paired difference. None where there are no points, or where the best of them is not
    shown to be nearer to the real style than the base.
    """
    if not points:
        return None
    best = max(points, key=lambda point: point.score.value)
    way = best.share.estimate()
    if way.interval_95 is None or way.interval_95[0] <= 0:
        return None

    def is_as_good(point: CurvePoint) -> bool:
        behind = combine(lambda a, b: a - b, best.score, point.score).estimate()
        return behind.value <= behind.standard_error

    as_good = [point for point in points if point is best or is_as_good(point)]
    chosen = min(as_good, key=lambda p: (abs(p.lora_scale - AS_TRAINED), -p.score.value))
    return Recommended(chosen.lora_scale, chosen.guidance_scale, _reason(chosen, best))


def _reason(chosen: CurvePoint, best: CurvePoint) -> str:
    text = (
        f"at {chosen.lora_scale:g} it keeps {chosen.kept.value:.0%} of what is recognised in the base's images and is "
        f"{chosen.share.value:.0%} of the way to the real style (harmonic mean {chosen.score.value:.2f}"
    )
    if chosen is best:
        return f"{text}, the highest of the strengths that were tried)"
    return f"{text}; {best.score.value:.2f} at {best.lora_scale:g} is within one standard error)"


def _kept(recognised: float, base: float) -> float:
    return min(1.0, recognised / base) if base > 0 else 0.0


def _harmonic(kept: float, share: float) -> float:
    share = min(1.0, share) if share == share else 0.0  # nan where the base is in the real style already
    return 2 * kept * share / (kept + share) if kept > 0 and share > 0 else 0.0
