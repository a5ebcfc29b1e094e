"""Is it recognised? Which name of a set is nearest to an image, with variants of one concept counted as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ranks(
    images_ND: np.ndarray, concepts: Sequence[str], names_MD: np.ndarray, name_concepts: Sequence[str]
) -> np.ndarray:
    """[N]: how many concepts are nearer than the image's own, plus one; 1 is recognised.

    images_ND, names_MD: unit vectors. A concept is as near as the nearest of its names: the skin tones of one emoji
    are one answer. A tie counts as half before, half behind, so that a judge who sees no difference gains nothing.
    Raises ValueError for an image whose concept has no name.
    """
    known, cluster_M = np.unique(np.asarray(name_concepts, dtype=object).astype(str), return_inverse=True)
    position = {str(name): number for number, name in enumerate(known)}
    missing = [concept for concept in concepts if concept not in position]
    if missing:
        raise ValueError(f"no name has the concept {missing[0]}")
    similar_NM = np.asarray(images_ND, dtype=np.float64) @ np.asarray(names_MD, dtype=np.float64).T
    best_NC = np.full((len(similar_NM), len(known)), -np.inf)
    for column, concept in enumerate(cluster_M):
        np.maximum(best_NC[:, concept], similar_NM[:, column], out=best_NC[:, concept])
    own_N = best_NC[np.arange(len(best_NC)), [position[concept] for concept in concepts]][:, None]
    return 1 + (best_NC > own_N).sum(1) + ((best_NC == own_N).sum(1) - 1) / 2


def within(ranks_N: np.ndarray, most: int) -> np.ndarray:
    """[N]: 1 where the rank is at most so much, else 0."""
    return (np.asarray(ranks_N) <= most).astype(np.float64)
