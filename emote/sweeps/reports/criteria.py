"""What results are chosen by: held-out loss, and what a judge saw of the images at their ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emote.evaluation.paired import PairedResult
from emote.evaluation.replicates import BySeed, over_seeds
from emote.sweeps.reports.results import Result, Scores
from emote.util.markdown import percent


@dataclass(frozen=True)
class Criterion:
    """title: of its heat map.  best: what the best one is called.  about: its figures, for people.  read: a figure for
    each image, None where a result has none."""

    key: str
    title: str
    best: str
    about: str
    higher_is_better: bool
    read: Callable[[Result], Scores | None]

    @property
    def sign(self) -> int:
        """What makes a low figure the good one."""
        return -1 if self.higher_is_better else 1

    def show(self, value: float) -> str:
        return f"{value:.0%}" if self.higher_is_better else f"{value:.5f}"

    def show_change(self, found: PairedResult) -> str:
        """To the base model, in a few characters: relative for losses, in percentage points for shares."""
        return points(found.difference) if self.higher_is_better else percent(found.relative)

    def show_difference(self, found: PairedResult) -> str:
        """With its interval."""
        if self.higher_is_better:
            numbers = [points(value) for value in (found.difference, *(found.interval_95 or ()))]
        else:
            values = (found.difference, *(found.interval_95 or ()))
            numbers = [f"{value:+.5f}".replace("-", "−") for value in values]
        return f"{numbers[0]} ({' to '.join(numbers[1:])})" if found.interval_95 else numbers[0]

    def show_spread(self, by_seed: BySeed) -> str:
        """The half-width of the interval over seeds; "" for a single one."""
        found = over_seeds(by_seed)
        return f" ± {self.show(found.half_width)}" if found.interval_95 else ""


def points(value: float) -> str:
    """A difference of two shares: `+4 pp`."""
    return f"{value * 100:+.0f}".replace("-", "−").replace("+0", "0").replace("−0", "0") + " pp"


LOSS = Criterion(
    "loss",
    "Held-out loss",
    "Lowest held-out loss",
    "Mean over {items} images of {concepts} concepts that were kept from training, unweighted, the same noise for each",
    False,
    lambda result: result.held_out,
)
RECOGNISED = Criterion(
    "recognised",
    "Recognised",
    "Most recognised",
    "Of the {items} images that each run draws at its end, the share that a judge recognises within five guesses",
    True,
    lambda result: result.recognised,
)
USABLE = Criterion(
    "usable",
    "Usable in a pack",
    "Most usable in a pack",
    "Of the {items} images that each run draws at its end, the share that a pack can take",
    True,
    lambda result: result.usable,
)
CRITERIA = {criterion.key: criterion for criterion in (LOSS, RECOGNISED, USABLE)}
