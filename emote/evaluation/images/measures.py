"""All figures about a set of drawings, and of a difference to the base's drawings from the same prompts and noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from PIL import Image

from emote.evaluation.images import spread
from emote.evaluation.images.copies import Nearest, as_pixels, beyond_null, chance, find_nearest, much_nearer
from emote.evaluation.images.jackknife import LeaveOneOut, combine, mean_over, ratio
from emote.evaluation.images.judge import ImageJudge
from emote.evaluation.images.mmd import Kernel, RbfKernel, median_bandwidth, mmd2, polynomial_kernel, share_of_way
from emote.evaluation.images.reference import Names, Prompt, RealImages, Reference
from emote.evaluation.images.retrieval import ranks, within
from emote.evaluation.images.style import StyleSpace, style_features
from emote.evaluation.images.usable import Usable, look

CutOut = Callable[[Image.Image], Image.Image]  # RGB to RGBA
STYLE_IMAGES = 1000  # of the training images, for the space in which style is measured
NAMES_OF_EACH = 4  # of a concept, the shortest: the rest are skin tones
SMALL_PX = (32, 20)  # at which Discord and Slack show emoji


class Better(Enum):
    """Which way of a figure is good."""

    higher = 1
    lower = -1
    neither = 0


@dataclass(frozen=True)
class Measure:
    """key: in files. title, unit: for people. held_out: whether it is about prompts of held-out concepts alone."""

    key: str
    title: str
    better: Better
    percent: bool = False


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("recognised_top1", "recognised, first guess", Better.higher, True),
        Measure("recognised_top5", "recognised within five", Better.higher, True),
        Measure("mean_rank", "mean rank of the name", Better.lower),
        Measure("legible_32", "still recognised at 32 px", Better.higher, True),
        Measure("legible_20", "still recognised at 20 px", Better.higher, True),
        Measure("style_mmd2", "distance to the real style (RBF)", Better.lower),
        Measure("style_kid", "distance to the real style (polynomial)", Better.lower),
        Measure("style_share", "share of the way to the real style", Better.higher, True),
        Measure("drift", "moved away outside the set", Better.lower),
        Measure("copies", "copied among held-out concepts", Better.lower, True),
        Measure("copies_trained", "copied among training concepts", Better.lower, True),
        Measure("diversity", "difference between seeds", Better.neither),
        Measure("usable", "usable in a pack", Better.higher, True),
    )
}
Figures = dict[str, LeaveOneOut]


@dataclass(frozen=True)
class Drawings:
    """What one model drew. images: one for each entry of prompts (a prompt may stand there several times).

    again: several seeds of each of a few prompts, whose concepts again_concepts names. away: of the judge's prompts
    outside the set, in their order; may be empty.
    """

    prompts: Sequence[Prompt]
    images: Sequence[Image.Image]
    again: Sequence[Image.Image] = ()
    again_concepts: Sequence[str] = ()
    away: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class Measured:
    """figures: by key. The rest is one entry an image, for sheets of the best and the worst.

    guesses: the concept that the judge takes each image for. away_ND: for the drift between two of these.
    """

    figures: Figures
    ranks_N: np.ndarray
    guesses: list[str]
    usable: list[Usable]
    nearest: Nearest
    away_ND: np.ndarray | None = None


class NameJudge:
    """Says which of a set's concepts an image shows."""

    def __init__(self, judge: ImageJudge, names: Names) -> None:
        self.judge = judge
        pairs = sorted(set(zip(names.texts, names.concepts, strict=True)), key=lambda pair: (len(pair[0]), pair))
        of_each: Counter[str] = Counter()
        pairs = [pair for pair in pairs if of_each.update([pair[1]]) or of_each[pair[1]] <= NAMES_OF_EACH]
        self._concepts = [concept for _, concept in pairs]
        self._names_MD = judge.embed_names([text for text, _ in pairs])

    @property
    def concept_count(self) -> int:
        return len(set(self._concepts))

    def ranks(self, images: Sequence[Image.Image], concepts: Sequence[str], side_px: int | None = None) -> np.ndarray:
        """[N]: see `retrieval.ranks`. side_px: as seen at this size; None: as drawn."""
        if side_px:
            images = [image.convert("RGB").resize((side_px,) * 2, Image.Resampling.LANCZOS) for image in images]
        return ranks(self.judge.embed_images(images), concepts, self._names_MD, self._concepts)

    def guesses(self, images: Sequence[Image.Image]) -> list[str]:
        nearest_N = (self.judge.embed_images(images) @ self._names_MD.T).argmax(1)
        return [self._concepts[row] for row in nearest_N]


def recognised(ranks_N: np.ndarray, concepts: Sequence[str]) -> Figures:
    return {
        "recognised_top1": mean_over(within(ranks_N, 1), concepts),
        "recognised_top5": mean_over(within(ranks_N, 5), concepts),
        "mean_rank": mean_over(ranks_N, concepts),
    }


def look_at(images: Sequence[Image.Image], cut_out: CutOut) -> list[Usable]:
    return [
        look(np.asarray(image.convert("RGB")), np.asarray(cut_out(image.convert("RGB")).getchannel("A")))
        for image in images
    ]


class Measures:
    """Measures drawings against one set; what the real images have to tell is computed once."""

    def __init__(self, judge: ImageJudge, reference: Reference, cut_out: CutOut) -> None:
        """cut_out: gives an image its transparency."""
        self.judge, self.reference, self.cut_out = judge, reference, cut_out
        self.names = NameJudge(judge, reference.names)
        training, held_out = reference.training, reference.held_out
        features_ND = style_features(training.images[:STYLE_IMAGES])
        self._space = StyleSpace.of(features_ND)
        self._real_style_ND = self._space(style_features(held_out.images))
        self._kernels: dict[str, Kernel] = {
            "style_mmd2": RbfKernel(median_bandwidth(self._real_style_ND)),
            "style_kid": polynomial_kernel,
        }
        self._training_pixels = as_pixels(training.images)

    @cached_property
    def null_N(self) -> np.ndarray:
        """[N]: how near real images are to the training images of other concepts.

        A held-out image has no training image of its concept; one of a training concept, compared with those of others
        alone, is as if it had been held out, since a hash decides which are.
        """
        reference = self.reference
        return np.concatenate(
            [self._nearest(part.images, part.concepts).distance_N for part in (reference.held_out, reference.examples)]
        )

    def _nearest(self, images: Sequence[Image.Image], not_of: Sequence[str] | None = None) -> Nearest:
        pixels = as_pixels(images)
        return find_nearest(pixels, self._training_pixels, self.reference.training.concepts, not_of)

    def of(self, drawings: Drawings) -> Measured:
        """Every figure that needs no other drawings to compare with."""
        concepts = [prompt.concept for prompt in drawings.prompts]
        ranks_N = self.names.ranks(drawings.images, concepts)
        figures = recognised(ranks_N, concepts)
        for side_px in SMALL_PX:
            small_N = within(self.names.ranks(drawings.images, concepts, side_px), 5)
            figures[f"legible_{side_px}"] = combine(ratio, mean_over(small_N, concepts), figures["recognised_top5"])
        figures |= self.style(drawings.images, concepts)
        nearest = self._nearest(drawings.images)
        figures |= self._copies(nearest, drawings.prompts)
        if len(drawings.again):
            values, known = spread.diversity(self.judge.embed_likeness(drawings.again), drawings.again_concepts)
            figures["diversity"] = mean_over(values, known)
        usable = look_at(drawings.images, self.cut_out)
        figures["usable"] = mean_over([bool(found) for found in usable], concepts)
        return Measured(
            figures,
            ranks_N,
            self.names.guesses(drawings.images),
            usable,
            nearest,
            self.judge.embed_likeness(drawings.away) if len(drawings.away) else None,
        )

    def glance(self, images: Sequence[Image.Image], concepts: Sequence[str]) -> Figures:
        """The figures of a curve: recognised, and in style."""
        return recognised(self.names.ranks(images, concepts), concepts) | self.style(images, concepts)

    def copies(self, drawings: Drawings) -> Figures:
        """What is too near to training images."""
        return self._copies(self._nearest(drawings.images), drawings.prompts)

    def oddness(self, images: Sequence[Image.Image]) -> np.ndarray:
        """[N]: how much nearer each image is to the others of these than to the real style: the witness of MMD²."""
        style_ND, kernel = self._space(style_features(images)), self._kernels["style_mmd2"]
        return kernel(style_ND, style_ND).mean(1) - kernel(style_ND, self._real_style_ND).mean(1)

    def real(self) -> Measured:
        """The held-out real images by the same measures: what the judge itself can do, and what 0 and 1 are."""
        held_out: RealImages = self.reference.held_out
        prompts = [
            Prompt(name, name, concept, True) for name, concept in zip(held_out.names, held_out.concepts, strict=True)
        ]
        return self.of(Drawings(prompts, held_out.images))

    def style(self, images: Sequence[Image.Image], concepts: Sequence[str]) -> Figures:
        """How far images are from the real ones that were held out."""
        style_ND = self._space(style_features(images))
        real = self.reference.held_out
        return {
            key: mmd2(style_ND, concepts, self._real_style_ND, real.concepts, kernel)
            for key, kernel in self._kernels.items()
        }

    def _copies(self, nearest: Nearest, prompts: Sequence[Prompt]) -> Figures:
        found: Figures = {}
        held = [row for row, prompt in enumerate(prompts) if prompt.held_out]
        if held:
            beyond_N = beyond_null(nearest.distance_N[held], self.null_N)
            found["copies"] = mean_over(beyond_N, [prompts[row].concept for row in held])
        trained = [row for row, prompt in enumerate(prompts) if not prompt.held_out]
        if trained:
            copied_N = much_nearer(nearest)[trained]
            found["copies_trained"] = mean_over(copied_N, [prompts[row].concept for row in trained])
        return found


COPIES_SHOWN_BELOW = 0.01  # the probability that as many are copies by chance


def shows_copies(measured: Measured, prompts: Sequence[Prompt]) -> list[str]:
    """The measures that show more copies than the one in a hundred that chance allows; of images of these prompts."""
    shown = []
    for key, held_out in (("copies", True), ("copies_trained", False)):
        images = sum(prompt.held_out == held_out for prompt in prompts)
        if key in measured.figures:
            copied = round(measured.figures[key].value * images)
            if chance(copied, images) < COPIES_SHOWN_BELOW:
                shown.append(key)
    return shown


def against_base(measured: Measured, base: Measured) -> Figures:
    """What only both together tell: the share of the way to the real style, and the drift."""
    found: Figures = {"style_share": combine(share_of_way, measured.figures["style_mmd2"], base.figures["style_mmd2"])}
    if measured.away_ND is not None and base.away_ND is not None:
        moved_N = spread.drift(base.away_ND, measured.away_ND)
        found["drift"] = mean_over(moved_N, [str(row) for row in range(len(moved_N))])
    return found


def differences(measured: Figures, other: Figures) -> Figures:
    """measured − other of each figure that both have, paired by concept."""
    return {key: combine(lambda a, b: a - b, measured[key], other[key]) for key in measured if key in other}
