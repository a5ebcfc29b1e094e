"""The held-out split: by concept, deterministic, independent of the order of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def held_out_concepts(concepts: Iterable[str], share: float, seed: int = 0) -> set[str]:
    """Return the concepts to hold out: a share of the distinct ones, chosen by their hash.

    At least one where `share` > 0 and there are two or more; never all of them.
    """
    distinct = sorted(set(concepts), key=lambda c: hashlib.sha256(f"{seed}:{c}".encode()).digest())
    if share <= 0 or len(distinct) < 2:
        return set()
    return set(distinct[: min(max(1, round(share * len(distinct))), len(distinct) - 1)])


def join_concepts(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Concept to the name of its group, from pairs of (concept, content hash).

    Concepts that share an image are one group, named after its first in the alphabet: sets draw one image
    for several emoji, and the image must not be trained on under one name and held out under another.
    """
    parent: dict[str, str] = {}

    def root(concept: str) -> str:
        while parent[concept] != concept:
            parent[concept] = parent[parent[concept]]
            concept = parent[concept]
        return concept

    first_with: dict[str, str] = {}
    for concept, content in pairs:
        parent.setdefault(concept, concept)
        low, high = sorted((root(concept), root(first_with.setdefault(content, concept))))
        parent[high] = low
    return {concept: root(concept) for concept in parent}
