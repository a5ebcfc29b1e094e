"""The held-out split: by concept, deterministic, independent of the order of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def held_out_concepts(concepts: Iterable[str], share: float, seed: int = 0) -> set[str]:
    """The concepts to hold out: a share of the distinct ones, chosen by their hash.

    At least one where `share` > 0 and there are two or more; never all of them.
    """
    distinct = sorted(set(concepts), key=lambda c: hashlib.sha256(f"{seed}:{c}".encode()).digest())
    if share <= 0 or len(distinct) < 2:
        return set()
    return set(distinct[: min(max(1, round(share * len(distinct))), len(distinct) - 1)])
