"""One base model in memory for all visitors, and one drawing at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from PIL import Image

from emote.config import ModelConfig
from emote.inference.image_generator import Cancelled, ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter

ASKED_EACH_S = 0.02


class SharedGenerator:
    """Keeps the base model that was used last; adapters of the same base switch without loading it again."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.loads = 0  # of a base model
        self._one_at_a_time = threading.Lock()
        self._studio: ImageGenerator | None = None
        self._model: ModelConfig | None = None

    def load(self, model: ModelConfig) -> None:
        """Have this base model in memory. Raises ConfigError where it is not to be had."""
        with self._one_at_a_time:
            self._with(model)

    def draw(
        self,
        model: ModelConfig,
        adapter: Adapter | None,
        request: Request,
        *,
        of_base: Mapping[str, Any] = MappingProxyType({}),
        on_step: Callable[[int, int], None] = lambda done, of: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Image.Image, Image.Image | None, str]:
        """The base model's image, the fine-tuned one of the same noise, and words of the prompt that were not read.

        of_base: what is otherwise in the base model's request, where the adapter draws in a few steps.
        on_step, cancelled: as in `Studio.draw`, whose Cancelled this raises, and ConfigError.
        """
        with self._turn(cancelled):
            image_generator = self._with(model)
            image_generator.use(adapter)
            requests = [replace(request, lora_scale=0.0, **of_base), *([request] if adapter else [])]
            images = image_generator.draw(requests, on_step=on_step, cancelled=cancelled)
            return images[0], images[1] if adapter else None, image_generator.cut_words(request.prompt)

    def draw_each(
        self,
        model: ModelConfig,
        adapter: Adapter | None,
        requests: Sequence[Request],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Image.Image]:
        """One image a request, of the adapter alone. Raises Cancelled, also while it waits, and ConfigError."""
        with self._turn(cancelled):
            image_generator = self._with(model)
            image_generator.use(adapter)
            return image_generator.draw(requests, batch=len(requests), cancelled=cancelled)

    @contextmanager
    def _turn(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait for the others, but not for longer than the drawing is wanted."""
        while not self._one_at_a_time.acquire(timeout=ASKED_EACH_S):
            if cancelled():
                raise Cancelled
        try:
            if cancelled():
                raise Cancelled
            yield
        finally:
            self._one_at_a_time.release()

    def _with(self, model: ModelConfig) -> ImageGenerator:
        if self._studio is None or self._model != model:
            self._studio = None  # before the next is loaded: two may not fit
            self._studio = ImageGenerator(model, self.device)
            self._model = model
            self.loads += 1
        return self._studio
