"""One base model in memory for all visitors, and one drawing at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from emote.config import ModelConfig
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter


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
        on_step: Callable[[int, int], None] = lambda done, of: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Image.Image, Image.Image | None, str]:
        """The base model's image, the fine-tuned one of the same noise, and words of the prompt that were not read.

        on_step, cancelled: as in `Studio.draw`, whose Cancelled this raises, and ConfigError.
        """
        with self._one_at_a_time:
            image_generator = self._with(model)
            image_generator.use(adapter)
            requests = [replace(request, lora_scale=0.0), *([request] if adapter else [])]
            images = image_generator.draw(requests, on_step=on_step, cancelled=cancelled)
            return images[0], images[1] if adapter else None, image_generator.cut_words(request.prompt)

    def _with(self, model: ModelConfig) -> ImageGenerator:
        if self._studio is None or self._model != model:
            self._studio = None  # before the next is loaded: two may not fit
            self._studio = ImageGenerator(model, self.device)
            self._model = model
            self.loads += 1
        return self._studio
