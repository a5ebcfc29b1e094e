"""Distances of images in the judge's eyes: over the seeds of a prompt (diversity), and to the base's (drift)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def diversity(images_ND: np.ndarray, prompts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(Mean of 1 − cosine over all pairs of one prompt's images, the prompts): one value a prompt with two or more.

    images_ND: unit vectors, several seeds of each prompt.
    """
    names, values = list(dict.fromkeys(prompts)), []
    kept = []
    said = np.asarray(prompts, dtype=object).astype(str)
    for name in names:
        own_KD = images_ND[said == name]
        count = len(own_KD)
        if count < 2:
            continue
        similar = (float((own_KD @ own_KD.T).sum()) - float((own_KD**2).sum())) / (count * (count - 1))
        values.append(1.0 - similar)
        kept.append(name)
    return np.array(values), kept


def drift(base_ND: np.ndarray, adapter_ND: np.ndarray) -> np.ndarray:
    """[N]: 1 − cosine between the base's and the adapter's image of the same prompt and noise."""
    return 1.0 - (base_ND * adapter_ND).sum(1)
