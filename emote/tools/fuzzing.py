"""What every fuzz does: take whole numbers from the words that were typed, try seed after seed, and count."""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence


def take_numbers(arguments: Sequence[str], defaults: dict[str, int]) -> tuple[dict[str, int], list[str]]:
    """Return the numbers that words such as `count=300` set, the first of each counting, and the other words."""
    numbers = dict(defaults)
    for word in reversed(arguments):
        name, _, value = word.partition("=")
        if name in defaults:
            numbers[name] = int(value)
    return numbers, [word for word in arguments if word.partition("=")[0] not in defaults]


def try_seeds(seed: int, count: int, what: str, try_one: Callable[[int], str]) -> int:
    """Try `count` seeds; print what failed with its seed, and what the others came to. Returns 1 where any failed.

    what: they are, in the plural. try_one: returns what came of a seed; whatever it raises is a failure.
    """
    began, outcomes = time.monotonic(), Counter[str]()
    for number in range(seed, seed + count):
        try:
            outcomes[try_one(number)] += 1
        except Exception:
            outcomes["failed"] += 1
            print(f"seed {number}:\n{traceback.format_exc()}", file=sys.stderr)
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    print(f"{count} {what} in {time.monotonic() - began:.0f} s: {told}")
    return 1 if outcomes["failed"] else 0
