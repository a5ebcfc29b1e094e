"""Has the held-out loss stopped falling? Asked of the images themselves, not of a mean and a patience."""

from __future__ import annotations

from collections.abc import Sequence

from emote.evaluation.paired import compare


def is_plateau(history: Sequence[Sequence[float]], concepts: Sequence[str], validations: int) -> bool:
    """Whether none of the last validations shows a gain over the lowest one before them.

    history: the loss of each held-out image, by validation. A gain is shown where the 95 % interval of the difference,
    paired by image with whole concepts as the unit, lies below 0. Never where there is nothing before them, and where
    a single concept has no interval.
    """
    if len(history) <= validations:
        return False
    before = min(history[:-validations], key=sum)
    for losses in history[-validations:]:
        interval = compare(before, losses, concepts, draws=2000).interval_95
        if interval is None or interval[1] < 0:
            return False
    return True
