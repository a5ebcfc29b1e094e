"""Does each measure move the right way? Known things are done to real images, weakly to strongly.

The expected signs stand in docs/evaluation/signs.csv and were committed before anything was measured.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from emote.evaluation.images.jackknife import Estimate, LeaveOneOut, combine
from emote.evaluation.images.judge import ImageJudge
from emote.evaluation.images.measures import Drawings, Figures, Measured, Measures, against_base
from emote.evaluation.images.reference import Prompt
from emote.imaging.cutout import cut_out
from emote.tools.judge_eval.art import ArtSet, as_reference, by_hash
from emote.util.places import ROOT

SIGNS = ROOT / "docs" / "evaluation" / "signs.csv"
STRENGTHS = (0.1, 0.3, 1.0)
AGAIN, AWAY, SEEDS = 24, 24, 4
PLUS, MINUS, NONE = "+", "-", "0"


@dataclass(frozen=True)
class Stage:
    """What is transformed: real images of one style, the same concepts in another, and training images.

    other: of the same concepts, one an image. training: what a copy is of, one an image.
    """

    images: Sequence[Image.Image]
    other: Sequence[Image.Image]
    training: Sequence[Image.Image]


Transform = Callable[[Stage, float], list[Image.Image]]


def blur(stage: Stage, strength: float) -> list[Image.Image]:
    """A radius of up to 3 px of 64."""
    return [image.filter(ImageFilter.GaussianBlur(3 * strength * image.width / 64)) for image in stage.images]


def shift_colour(stage: Stage, strength: float) -> list[Image.Image]:
    """Turn the hue by up to half a circle."""
    return [_turn_hue(image, round(128 * strength)) for image in stage.images]


def _turn_hue(image: Image.Image, by: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda v: (v + by) % 256), saturation, value)).convert("RGB")


def _some(make: Callable[[Stage, int], Image.Image]) -> Transform:
    """A share of the images is replaced, spread evenly: those of a weaker strength are among those of a stronger."""

    def transform(stage: Stage, strength: float) -> list[Image.Image]:
        order = by_hash([str(row) for row in range(len(stage.images))])
        chosen = {int(row) for row in order[: round(strength * len(order))]}
        return [make(stage, row) if row in chosen else image for row, image in enumerate(stage.images)]

    return transform


def _half(stage: Stage, row: int) -> Image.Image:
    image, other = stage.images[row].copy(), stage.images[(row + 1) % len(stage.images)]
    image.paste(other.crop((image.width // 2, 0, image.width, image.height)), (image.width // 2, 0))
    return image


def _moved(image: Image.Image) -> Image.Image:
    return ImageChops.offset(image, 2, 2)


TRANSFORMS: dict[str, Transform] = {
    "blur": blur,
    "half of two images": _some(_half),
    "colour shift": shift_colour,
    "another style": _some(lambda stage, row: stage.other[row]),
    "exact copy": _some(lambda stage, row: stage.training[row]),
    "copy shifted by two pixels": _some(lambda stage, row: _moved(stage.training[row])),
    "white images": _some(lambda stage, row: Image.new("RGB", stage.images[row].size, "white")),
    "one image repeated": _some(lambda stage, row: stage.images[0]),
}


@dataclass(frozen=True)
class Cell:
    """What became of a measure. changes: at each of STRENGTHS, paired with the untouched images."""

    transformation: str
    measure: str
    changes: tuple[Estimate, ...]
    expected: str

    @property
    def sign(self) -> str:
        """At full strength; none where 0 is within the interval, or nothing can be said."""
        last = self.changes[-1]
        if not np.isfinite(last.value) or not last.differs_from_zero:
            return NONE
        return PLUS if last.value > 0 else MINUS

    @property
    def is_monotone(self) -> bool:
        """Whether no strength moves it back, in the direction of the last, by more than its interval allows."""
        direction = 1 if self.changes[-1].value > 0 else -1
        before, furthest = 0.0, 0.0
        for change in self.changes:
            before, furthest = direction * change.value, max(furthest, before)
            if before < furthest - change.half_width:
                return False
        return True

    @property
    def as_expected(self) -> bool:
        return self.sign == self.expected and (self.sign == NONE or self.is_monotone)


def expected_signs(path: Path = SIGNS) -> dict[tuple[str, str], str]:
    """(transformation, measure) to +, - or 0."""
    with open(path, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        (row["transformation"], measure): sign
        for row in rows
        for measure, sign in row.items()
        if measure != "transformation"
    }


def measure_transformations(
    judge: ImageJudge, art: ArtSet, other: ArtSet, count: int = 150, names: Sequence[str] = tuple(TRANSFORMS)
) -> list[Cell]:
    """Every cell of the table, on so many held-out concepts of a set. other: the same concepts in another style."""
    both = by_hash([concept for concept in art.images if concept in other.images])
    held, trained = both[:count], both[count : 2 * count]
    measures = Measures(judge, as_reference(art, held), cut_out)
    before = _measure(measures, art, other, held, trained, lambda stage, strength: list(stage.images), 0.0)
    signs = expected_signs()
    cells = []
    for name in names:
        found: list[Figures] = []
        for strength in STRENGTHS:
            after = _measure(measures, art, other, held, trained, TRANSFORMS[name], strength)
            changed = {key: _difference(after.figures[key], before.figures[key]) for key in before.figures}
            found.append(changed | {"drift": against_base(after, before)["drift"]})
        for measure in found[0]:
            changes = tuple(figures[measure].estimate() for figures in found)
            cells.append(Cell(name, measure, changes, signs[name, measure]))
    return cells


def _measure(
    measures: Measures,
    art: ArtSet,
    other: ArtSet,
    held: Sequence[str],
    trained: Sequence[str],
    transform: Transform,
    strength: float,
) -> Measured:
    """The real drawings of held-out concepts, and for copies among training concepts the other style's of those."""

    def pick(of: ArtSet, concepts: Sequence[str]) -> list[Image.Image]:
        return [of.images[concept] for concept in concepts]

    copied = pick(art, trained)
    seen = [concept for concept in held[:AGAIN] for _ in range(SEEDS)]
    again = Stage(
        [image for concept in held[:AGAIN] for image in _seeds(art.images[concept])],
        [image for concept in held[:AGAIN] for image in _seeds(other.images[concept])],
        [copied[row % len(copied)] for row in range(len(seen))],
    )
    drawings = Drawings(
        [Prompt(art.names[c], art.names[c], c, True) for c in held],
        transform(Stage(pick(art, held), pick(other, held), copied), strength),
        transform(again, strength),
        seen,
        transform(Stage(pick(art, held[-AWAY:]), pick(other, held[-AWAY:]), copied[-AWAY:]), strength),
    )
    # in the other style nothing of a training concept is a copy, and there it has no third style to go to
    honest = pick(other, trained)
    others = Drawings(
        [Prompt(art.names[c], art.names[c], c, False) for c in trained],
        transform(Stage(honest, honest, copied), strength),
    )
    found = measures.of(drawings)
    return replace(found, figures=found.figures | measures.copies(others))


def _difference(after: LeaveOneOut, before: LeaveOneOut) -> LeaveOneOut:
    return combine(lambda a, b: a - b, after, before)


def _seeds(image: Image.Image) -> list[Image.Image]:
    """As several seeds would draw it: mirrored, turned, smaller."""
    smaller = Image.new("RGB", image.size, "white")
    shrunk = image.resize((round(image.width * 0.8),) * 2, Image.Resampling.LANCZOS)
    smaller.paste(shrunk, ((image.width - shrunk.width) // 2,) * 2)
    turned = image.rotate(12, Image.Resampling.BICUBIC, fillcolor="white")
    return [image, ImageOps.mirror(image), turned, smaller]
