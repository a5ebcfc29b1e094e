"""What is being drawn for one visitor while they type: the newest text alone; what it supersedes stops."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from PIL import Image

from emote.demo.catalogue import Choice
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter


@dataclass
class Typed:
    """A text that was typed, with one noise and its neighbours.

    adapter: what draws it, in a few steps. request: for the first seed. images: by seed, of these words and settings.
    """

    words: str
    choice: Choice
    adapter: Adapter
    request: Request
    cancelled: threading.Event
    images: dict[int, Image.Image] = field(default_factory=dict)

    def at(self, seed: int) -> Request:
        return replace(self.request, seed=seed)

    def missing(self, seeds: list[int]) -> list[int]:
        return [seed for seed in seeds if seed not in self.images]

    def carry_over(self, before: Typed | None) -> None:
        """Keep the images that were drawn of the same words and settings: walking along seeds draws each once."""
        if before and before.at(0) == self.at(0) and before.adapter.short_hash == self.adapter.short_hash:
            self.images = before.images
