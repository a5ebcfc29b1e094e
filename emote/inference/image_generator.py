"""One base model in memory that draws requests, with whichever adapter is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from emote.config import Accelerator, ModelConfig, Precision
from emote.diffusion.generate import draw_batch, to_images
from emote.inference.png_metadata import CHUNK, Parameters, write_parameters
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter
from emote.lora.adapter import adapter_scaled, without_adapter
from emote.lora.fold import Folding
from emote.lora.loading import put_layers, remove_layers
from emote.models import components
from emote.models.device import choose
from emote.models.precision import DTYPES
from emote.models.presets import Base, find_base
from emote.models.prompts import PromptEncoder
from emote.util.errors import ConfigError
from emote.util.quiet import quiet_libraries

BATCH_ON_CPU = 1  # 4 would be a quarter faster; but so an image has the same bits however many are asked for
BATCH_ON_GPU = 4
REMEMBERED_PROMPTS = 256


class Cancelled(Exception):
    """The caller said so while images were being drawn."""


@dataclass(frozen=True)
class Drawn:
    """index: of the request in what was asked for. problem: what went wrong with this image, or "".

    batch_size, batch_position: how it was computed; the same values give the same bits again.
    """

    index: int
    request: Request
    image: Image.Image
    batch_size: int
    batch_position: int
    problem: str = ""


class ImageGenerator:
    """Loads a base model once; `use` switches adapters, `draw` draws.

    device: auto, cpu, cuda or mps. Half precision on CUDA, float32 elsewhere; the VAE is always float32, as SD 1.5's
    overflows in half precision. Not safe for several threads at once.
    Raises ConfigError where there is no such model or device.
    """

    def __init__(self, base: ModelConfig | Base, device: str = "auto", precision: Precision = Precision.auto) -> None:
        quiet_libraries()
        self.base = base if isinstance(base, Base) else find_base(base)
        self.device, self.precision = choose(Accelerator[device], precision)
        self.dtype = DTYPES[self.precision]
        self.adapter: Adapter | None = None
        path, variant = self.base.path, self.base.config.variant
        self._unet = components.load_unet(path, self.dtype, self.device, variant=variant)
        self._vae = components.load_vae(path, torch.float32, self.device, variant=variant)
        self._vae.enable_slicing()  # one image at a time: less memory, and bits that no batch changes
        self._encoder = PromptEncoder(path, self.device, variant=variant)
        self._tokenizer = self._encoder.tokenizer
        self._training_schedule = components.load_scheduler(path).config
        self._parts = {"unet": self._unet, **self._encoder.encoders}
        self._folding = Folding()
        self._adapts_text = False  # whether the adapter in use changes what prompts are encoded to
        self._embedding_TD = lru_cache(REMEMBERED_PROMPTS)(self._encode)

    @property
    def unet(self) -> torch.nn.Module:
        """The denoiser, with the adapter in use, for those who measure it."""
        return self._unet

    @property
    def default_batch(self) -> int:
        return BATCH_ON_CPU if self.device.type == "cpu" else BATCH_ON_GPU

    def use(self, adapter: Adapter | None) -> None:
        """Draw with this adapter from now on; None for the base model. Nothing is loaded where it is in use already.

        Raises ConfigError where it does not fit this base model; then the base model is in use.
        """
        if _same(adapter, self.adapter):
            return
        self._folding.take_out()
        for part in self._parts.values():
            remove_layers(part)
        if self._adapts_text:
            self._embedding_TD.cache_clear()
        self.adapter, self._adapts_text = None, False
        if adapter is None:
            return
        try:
            layers = adapter.load().layers
            put_layers(self._parts, layers, adapter.file if not adapter.parts else Path(adapter.label))
        except ConfigError as error:
            raise ConfigError(f"{error}; the base model in use is {self.base.label}") from error
        self.adapter, self._adapts_text = adapter, any(not name.startswith("unet.") for name in layers)

    def cut_words(self, prompt: str) -> str:
        """Return the end of a prompt that the text encoder has no room for; "" where it reads all of it."""
        tokens = self._tokenizer(prompt, add_special_tokens=False, truncation=False).input_ids
        return str(self._tokenizer.decode(tokens[self.tokens_read :])).strip()

    @property
    def tokens_read(self) -> int:
        """How many tokens of a prompt the text encoder reads."""
        return int(self._tokenizer.model_max_length) - 2  # the first and the last are marks

    def draw(
        self,
        requests: Sequence[Request],
        *,
        batch: int | None = None,
        on_batch: Callable[[int], None] = lambda done: None,
        on_step: Callable[[int, int], None] = lambda done, of: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Image.Image]:
        """One image a request, in their order; see `draw_each`. What each was drawn from is in `info["parameters"]`.

        on_batch: told how many images are done. Raises ConfigError for an image that came out as no numbers.
        """
        images: dict[int, Image.Image] = {}
        for drawn in self.draw_each(requests, batch=batch, on_step=on_step, cancelled=cancelled):
            if drawn.problem:
                raise ConfigError(drawn.problem)
            images[drawn.index] = drawn.image
            if drawn.batch_position == drawn.batch_size - 1:
                on_batch(len(images))
        return [images[index] for index in range(len(requests))]

    def draw_each(
        self,
        requests: Sequence[Request],
        *,
        batch: int | None = None,
        on_step: Callable[[int, int], None] = lambda done, of: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Drawn]:
        """Yield images as they are done. Requests with the same settings share batches of at most `batch`.

        The same request in the same place of a batch of the same size gives the same bits; whatever the batch, no
        pixel is more than 2 of 255 apart (in float32).
        batch: None for what suits the device. on_step: (steps done, of how many in all), a step being one of one
        batch. cancelled: asked at every step; raises Cancelled when it says True.
        Raises ConfigError for sizes that the model has no latents for, before anything is drawn.
        """
        for request in requests:
            self.base.check_size(request.width, request.height)
        batches = _batches(requests, batch or self.default_batch)
        steps = [requests[rows[0]].inference_steps for rows in batches]
        for number, rows in enumerate(batches):

            def step(done: int, of: int, number: int = number) -> None:
                # some samplers call the model more often than they were asked to
                on_step(sum(steps[:number]) + steps[number] * done // of, sum(steps))
                if cancelled():
                    raise Cancelled

            if cancelled():
                raise Cancelled
            yield from self._draw_batch([requests[row] for row in rows], rows, step)

    def _draw_batch(
        self, requests: list[Request], rows: list[int], on_step: Callable[[int, int], None]
    ) -> Iterator[Drawn]:
        first = requests[0]
        scale = first.lora_scale if self._adapts_text else 0.0
        with self._adapter_at(first.lora_scale):
            pixels_B3HW = draw_batch(
                self._unet,
                self._vae,
                self._training_schedule,
                torch.stack([self._embedding_TD(request.prompt, scale) for request in requests]),
                torch.stack([self._embedding_TD(request.negative_prompt, scale) for request in requests]),
                [request.seed for request in requests],
                width=first.width,
                height=first.height,
                inference_steps=first.inference_steps,
                guidance_scale=first.guidance_scale,
                scheduler=first.scheduler,
                eta=first.eta,
                on_step=on_step,
            )
        for position, image in enumerate(to_images(pixels_B3HW)):
            request, problem = requests[position], ""
            if not torch.isfinite(pixels_B3HW[position]).all():
                problem = self._what_broke(request)
            image.info[CHUNK] = self._parameters(request, len(rows), position)
            yield Drawn(rows[position], request, image, len(rows), position, problem)

    @contextmanager
    def _adapter_at(self, scale: float) -> Iterator[None]:
        if self.adapter is None:
            yield
            return
        if scale and self.dtype is torch.float32:  # half-precision weights would round an adapter away
            self._folding.fold(self._parts.values(), scale)
            yield
            return
        self._folding.take_out()
        with ExitStack() as stack:
            for part in self._parts.values():
                stack.enter_context(adapter_scaled(part, scale) if scale else without_adapter(part))
            yield

    def _encode(self, text: str, scale: float) -> torch.Tensor:
        """Called where the adapter is at that scale, which is in the key where it changes the text encoder."""
        # alone, so that no other prompt changes its bits
        return self._encoder([text])[0]

    def _what_broke(self, request: Request) -> str:
        half = self.dtype is not torch.float32
        advice = "set precision=float32" if half else "a lower lora_scale or guidance may help"
        return f"the image of seed {request.seed} came out as no numbers and is black; {advice}"

    def _parameters(self, request: Request, batch_size: int, batch_position: int) -> str:
        adapter = self.adapter if request.lora_scale else None
        return write_parameters(
            Parameters(
                request,
                model=self.base.label,
                model_hash=self.base.short_hash,
                lora=adapter.name if adapter else "",
                lora_hash=adapter.short_hash if adapter and not adapter.parts else "",
                run=adapter.label if adapter else "",
                batch_size=batch_size,
                batch_position=batch_position,
                precision=self.precision,
                mix=tuple((p.name, weight, p.short_hash) for p, weight in adapter.parts) if adapter else (),
            )
        )


def _same(first: Adapter | None, second: Adapter | None) -> bool:
    if first is None or second is None:
        return first is second
    return (first.file, first.short_hash) == (second.file, second.short_hash)  # a run that went on has other weights


def _batches(requests: Sequence[Request], largest: int) -> list[list[int]]:
    """Row numbers: requests with the same settings together, in the order in which they were asked for."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, r in enumerate(requests):
        settings = (r.width, r.height, r.inference_steps, r.guidance_scale, r.scheduler, r.eta, r.lora_scale)
        groups.setdefault(settings, []).append(row)
    return [rows[start : start + largest] for rows in groups.values() for start in range(0, len(rows), largest)]
