"""The sample order and the choice of variants, as pure functions of a seed and a position.

A position counts images from the first of the first step on: step × batch_size + place in the batch. So
a run that resumes at any step, or is split over micro-batches or devices, sees the images that an
uninterrupted one sees, and nothing has to be saved for it.
"""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor


def key_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that is a function of `parts` alone: the same on every machine, in every process.

    Name the use first (`key_seed("noise", seed, step, position)`): other names draw other numbers, so that
    noise and order never share a stream. Each part is hashed with its type and length: (1, 23), (12, 3)
    and ("1", 23) are three keys. 63 bits because torch.Generator.manual_seed takes signed integers.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (int, str)):
            raise TypeError(f"a seed is made of int and str, got {type(part).__name__}")
        text = str(part).encode()
        digest.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "big") >> 1


@functools.lru_cache(maxsize=2)  # a batch may end one epoch and begin the next
def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order of one epoch: int64 [count]."""
    generator = torch.Generator().manual_seed(key_seed("order", seed, epoch))
    return torch.randperm(count, generator=generator)


def item_at(seed: int, position: int, count: int) -> int:
    """Return which of `count` items stands at `position` of the endless order; each one once per epoch."""
    epoch, place = divmod(position, count)
    return int(permutation(seed, epoch, count)[place])


def variant_at(seed: int, position: int, variants: int) -> int:
    """Return which of an image's `variants` (such as its mirror image) is drawn at `position`."""
    return key_seed("variant", seed, position) % variants
