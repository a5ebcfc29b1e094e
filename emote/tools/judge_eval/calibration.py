"""What the judge recognises of real drawings, and which styles are told apart: the limits of every other figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from emote.evaluation.images.jackknife import Estimate
from emote.evaluation.images.judge import ImageJudge
from emote.evaluation.images.measures import SMALL_PX, NameJudge, recognised
from emote.evaluation.images.mmd import Kernel, RbfKernel, median_bandwidth, mmd2, polynomial_kernel
from emote.evaluation.images.style import StyleSpace, style_features
from emote.tools.judge_eval.art import ArtSet, as_reference, by_hash

SPACE_IMAGES = 500


@dataclass(frozen=True)
class Calibration:
    """figures: top 1 and top 5 at each size, None being full size. confused: (shown, taken for, how often)."""

    style: str
    figures: dict[int | None, tuple[Estimate, Estimate]]
    confused: list[tuple[str, str, int]]


def calibrate(judge: ImageJudge, art: ArtSet, most_confused: int = 10) -> Calibration:
    """Image-to-name retrieval of all drawings of a set among all of its names."""
    concepts = list(art.images)
    images = [art.images[concept] for concept in concepts]
    eye = NameJudge(judge, as_reference(art, concepts[:2]).names)
    figures = {}
    for side_px in (None, *SMALL_PX):
        found = recognised(eye.ranks(images, concepts, side_px), concepts)
        figures[side_px] = (found["recognised_top1"].estimate(), found["recognised_top5"].estimate())
    guesses = zip(concepts, eye.guesses(images), strict=True)
    pairs = Counter(tuple(sorted(pair)) for pair in guesses if pair[0] != pair[1])
    return Calibration(art.style, figures, [(one, other, n) for (one, other), n in pairs.most_common(most_confused)])


@dataclass(frozen=True)
class Separation:
    """How far two styles are apart, by kernel, with as many images of each."""

    styles: tuple[str, str]
    images: int
    distances: dict[str, Estimate]

    @property
    def is_told_apart(self) -> bool:
        return all(estimate.differs_from_zero and estimate.value > 0 for estimate in self.distances.values())


def separate(sets: Sequence[ArtSet], images: int = 100) -> list[Separation]:
    """Every pair of sets, in the space of the first one's other drawings; the same concepts of each."""
    found = []
    for one, other in combinations(sets, 2):
        both = by_hash([concept for concept in one.images if concept in other.images])
        chosen, rest = both[:images], both[images : images + SPACE_IMAGES]
        space = StyleSpace.of(style_features([one.images[concept] for concept in rest]))
        first, second = (space(style_features([art.images[concept] for concept in chosen])) for art in (one, other))
        kernels: dict[str, Kernel] = {"RBF": RbfKernel(median_bandwidth(first)), "polynomial": polynomial_kernel}
        distances = {name: mmd2(first, chosen, second, chosen, kernel).estimate() for name, kernel in kernels.items()}
        found.append(Separation((one.style, other.style), len(chosen), distances))
    return found


@dataclass(frozen=True)
class Power:
    """Mean half-width of a 95 % interval with so many images: a difference must be about as large to be shown."""

    images: int
    recognised: float
    style_share: float


def measure_power(judge: ImageJudge, art: ArtSet, other: ArtSet, sizes: Sequence[int] = (25, 50, 100, 200, 400),
                  draws: int = 5) -> list[Power]:  # fmt: skip
    """Of recognised within five, and of a style distance as a share of that between two real styles."""
    both = by_hash([concept for concept in art.images if concept in other.images])
    space_concepts, pool = both[:SPACE_IMAGES], both[SPACE_IMAGES:]
    space = StyleSpace.of(style_features([art.images[concept] for concept in space_concepts]))
    features = {art.style: space(style_features([art.images[c] for c in pool])),
                other.style: space(style_features([other.images[c] for c in pool]))}  # fmt: skip
    kernel = RbfKernel(median_bandwidth(features[art.style][:SPACE_IMAGES]))
    eye = NameJudge(judge, as_reference(art, pool[:2]).names)
    ranks_N = eye.ranks([art.images[concept] for concept in pool], pool)
    random, found = np.random.default_rng(0), []
    for size in sizes:
        if size > len(pool):
            continue
        widths = []
        for _ in range(draws):
            rows = random.choice(len(pool), size, replace=False)
            concepts = [pool[row] for row in rows]
            named = recognised(ranks_N[rows], concepts)["recognised_top5"].estimate()
            apart = mmd2(features[other.style][rows], concepts, features[art.style][rows], concepts, kernel).estimate()
            widths.append((named.half_width, apart.half_width / apart.value))
        found.append(Power(size, *(float(np.mean(column)) for column in zip(*widths, strict=True))))
    return found
