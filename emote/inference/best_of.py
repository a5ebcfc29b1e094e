"""Of several drawings of a prompt keep those that are recognised at the size at which emoji are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from emote.data.naming import catalogue, concept_of
from emote.evaluation.images.judge import ImageJudge, judge_named, judge_of
from emote.evaluation.images.measures import NameJudge
from emote.evaluation.images.reference import Names

READ_AT_PX = 32
WITHIN = 5  # guesses


@dataclass(frozen=True)
class Scored:
    """index: of the drawing. rank: of its prompt among the names of all emoji, 1 for the first guess."""

    index: int
    rank: float

    @property
    def recognised(self) -> bool:
        return self.rank <= WITHIN

    def __str__(self) -> str:
        which = "recognised" if self.recognised else "not recognised"
        return f"{which} at {READ_AT_PX} px: {self.rank:g}. guess"


class PromptJudge:
    """Compares drawings with their prompts and the names of all emoji. Raises ConfigError where there is no judge."""

    def __init__(self, base_path: str, device: torch.device | str, fetch: bool = True) -> None:
        """fetch: whether a judge that is not on this machine is downloaded."""
        self._judge = ImageJudge(judge_named(judge_of(base_path)), device, fetch)
        self._texts = [name for name, _ in catalogue().values()]

    def rank(self, prompt: str, images: Sequence[Image.Image]) -> list[Scored]:
        """The most recognised first."""
        bare = re.sub(r"^(?:an?|the) ", "", prompt.strip(), flags=re.IGNORECASE)
        texts = [*self._texts, bare]
        names = Names(texts, [concept_of(text) for text in texts], texts, frozenset(), "")
        eye = NameJudge(self._judge, names)
        ranks = eye.ranks(images, [concept_of(bare)] * len(images), READ_AT_PX)
        return sorted((Scored(row, float(rank)) for row, rank in enumerate(ranks)), key=lambda s: (s.rank, s.index))


def keep(scored: Sequence[Scored]) -> list[Scored]:
    """Those that are recognised; the first alone where none is."""
    return [found for found in scored if found.recognised] or list(scored[:1])
