"""How strong should an adapter be used? As strong as its style needs and its subjects bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emote.evaluation.images.jackknife import LeaveOneOut, combine
from emote.evaluation.images.measures import Figures
from emote.evaluation.images.mmd import share_of_way

KEPT = 0.9  # an emoji that nobody recognises is none, in whatever style


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


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> list[CurvePoint]:
    """The curves of replicates as one: at each point the means of their figures, concept by concept."""
    return [
        CurvePoint(
            points[0].lora_scale,
            points[0].guidance_scale,
            {key: combine(_mean, *(point.figures[key] for point in points)) for key in points[0].figures},
            points[0].base,
        )
        for points in zip(*curves, strict=True)
    ]


def _mean(*values: float) -> float:
    return sum(values) / len(values)


def recommend(points: Sequence[CurvePoint]) -> Recommended | None:
    """Of the points that keep KEPT of what is recognised in the base's images, the nearest to the real style.

    A point keeps that much where it is within one standard error of it. Where none does, the highest score. None where
    there are no points, or where the one that would be chosen is not shown to be nearer to the real style than the
    base.
    """
    if not points:
        return None

    def keeps_enough(point: CurvePoint) -> bool:
        kept = point.kept.estimate()
        return kept.value + kept.standard_error >= KEPT

    enough = [point for point in points if keeps_enough(point)]
    if enough:
        chosen = max(enough, key=lambda point: point.share.value)
    else:
        chosen = max(points, key=lambda point: point.score.value)
    way = chosen.share.estimate()
    if way.interval_95 is None or way.interval_95[0] <= 0:
        return None
    kept, share = f"{chosen.kept.value:.0%}", f"{chosen.share.value:.0%}"
    if enough:
        reason = (
            f"of the strengths that keep nine tenths of what is recognised in the base's images (within one standard "
            f"error) it is the nearest to the real style: it keeps {kept} and is {share} of the way"
        )
    else:
        reason = (
            f"no strength keeps nine tenths of what is recognised in the base's images; this one has the best balance: "
            f"it keeps {kept} and is {share} of the way to the real style (harmonic mean {chosen.score.value:.2f})"
        )
    return Recommended(chosen.lora_scale, chosen.guidance_scale, reason)


def _kept(recognised: float, base: float) -> float:
    return min(1.0, recognised / base) if base > 0 else 0.0


def _harmonic(kept: float, share: float) -> float:
    share = min(1.0, share) if share == share else 0.0  # nan where the base is in the real style already
    return 2 * kept * share / (kept + share) if kept > 0 and share > 0 else 0.0
