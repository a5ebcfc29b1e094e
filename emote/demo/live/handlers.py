"""What happens while one types: a picture at once, its neighbours, then a better one; each only while it is wanted.

Nothing here waits in Gradio's queue. A text that comes supersedes the one before: its drawing stops at the next step,
and what has not begun costs nothing.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from emote.demo import markup
from emote.demo.catalogue import Choice
from emote.demo.handlers import LARGEST_SEED, LONGEST_PROMPT, Handlers, in_words
from emote.demo.live.state import Typed
from emote.demo.session import Drawing, Session
from emote.inference.image_generator import Cancelled
from emote.inference.prompt_template import in_template
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter, find_adapter, mixed
from emote.util.errors import ConfigError

STRIP = 4  # seeds side by side
SPEED_OF = {"weights/mini": "mini-speed"}  # base model → the adapter that makes it draw in a few steps


class LiveHandlers:
    """speed: the adapter that draws in a few steps; None for that which is known of a base model."""

    def __init__(self, handlers: Handlers, speed: str | None = None) -> None:
        self.handlers, self._named = handlers, speed
        self._found: dict[str, Adapter | None] = {}

    def speed_of(self, choice: Choice) -> Adapter | None:
        """Return the speed adapter for a choice's base model; None where none is known or here."""
        name = self._named or SPEED_OF.get(choice.model.path)
        if name is None:
            return None
        if choice.model.path not in self._found:
            try:
                adapter = find_adapter(name, self.handlers.catalogue.runs_dir, choice.model)
            except ConfigError:
                if self._named:
                    raise
                adapter = None  # of a base model that has one, but not here
            self._found[choice.model.path] = adapter
        return self._found[choice.model.path]

    def draw(
        self,
        live: bool,
        prompt: str,
        seed: float | None,
        transparent: bool,
        label: str,
        lora_scale: float,
        also: list[str],
        weight_1: float,
        weight_2: float,
        weight_3: float,
        request: gr.Request,
        event: gr.EventData,
    ) -> tuple[Any, ...]:
        """The first picture: (stage, strip)."""
        session = self.handlers.session(request)
        nothing = gr.skip(), gr.skip()
        cancelled = session.begin_typed(_typed_at(event)) if live else None
        if cancelled is None:
            return nothing
        before, session.typed = session.typed, None
        typed = self._typed(session, cancelled, prompt, seed, label, lora_scale, [weight_1, weight_2, weight_3], also)
        if typed is None:
            return nothing
        typed.carry_over(before)
        session.typed = typed
        if not self._draw(typed, [typed.request.seed]):
            return nothing
        return self._stage(session, typed), self._strip(session, typed)

    def neighbours(self, request: gr.Request) -> Any:
        """The pictures beside it, from the seeds that follow: (strip)."""
        session = self.handlers.session(request)
        typed = session.typed
        if typed is None or not self._draw(typed, seeds_of(typed)):
            return gr.skip()
        return self._strip(session, typed)

    def refine(self, transparent: bool, request: gr.Request) -> tuple[Any, ...]:
        """The picture again in more steps, kept like one that was asked for: (stage, chat, gallery)."""
        session = self.handlers.session(request)
        typed, nothing = session.typed, (gr.skip(),) * 3
        if typed is None or typed.cancelled.is_set() or session.refined is typed:
            return nothing
        session.refined = typed
        few = typed.adapter.few_steps
        assert few is not None
        better = Request(**{**vars(typed.request), "inference_steps": max(few.most, few.steps)})
        try:
            (image,) = self._images(typed, [better])
        except Cancelled:
            return nothing
        session.add_draft(Drawing(typed.words, better, typed.choice, None, image))
        return self.handlers.look(transparent, request)

    def pick(self, seed: float | None, event: gr.EventData) -> int:
        """Another seed of the strip, or one further on either side."""
        return (int(seed or 0) + int(event.index)) % (LARGEST_SEED + 1)

    def _typed(
        self, session: Session, cancelled: threading.Event, prompt: str, seed: float | None, label: str,
        lora_scale: float, weights: list[float], also: list[str],
    ) -> Typed | None:  # fmt: skip
        words = in_words(prompt)
        choice = self.handlers.choice(session, label)
        speed = self.speed_of(choice)
        if not words or len(prompt) > LONGEST_PROMPT or speed is None:
            return None
        few = speed.few_steps
        if few is None:
            raise ConfigError(f"speed={speed.label} is no adapter that draws in a few steps")
        used, _ = self.handlers.adapter(session, choice, lora_scale, also, weights, scaled=True)
        adapter = mixed([*used.parts, (speed, 1.0)]) if used else speed
        wanted = Request(
            prompt=in_template(words, choice.template), seed=int(seed or 0), width=choice.side_px,
            height=choice.side_px, **few.settings(),
        )  # fmt: skip
        return Typed(words, choice, adapter, wanted, cancelled)

    def _draw(self, typed: Typed, seeds: list[int]) -> bool:
        """Have the images of these seeds; False where they are not wanted any more."""
        missing = typed.missing(seeds)
        try:
            if missing:
                images = self._images(typed, [typed.at(seed) for seed in missing])
                typed.images.update(zip(missing, images, strict=True))
        except Cancelled:
            return False
        return not typed.cancelled.is_set()

    def _images(self, typed: Typed, requests: list[Request]) -> list[Any]:
        return self.handlers.image_generator.draw_each(
            typed.choice.model, typed.adapter, requests, cancelled=typed.cancelled.is_set
        )

    def _stage(self, session: Session, typed: Typed) -> str:
        file = session.draft_file(typed, typed.request.seed)
        facts = f"seed {typed.request.seed} · {typed.request.inference_steps} steps · {typed.adapter.label}"
        return markup.stage([markup.Plate(markup.LIVE, file, file.name)], typed.words, facts, False)

    def _strip(self, session: Session, typed: Typed) -> str:
        files: list[Path | None] = [
            session.draft_file(typed, seed) if seed in typed.images else None for seed in seeds_of(typed)
        ]
        return markup.strip(files, seeds_of(typed))


def _typed_at(event: gr.EventData) -> float | None:
    """When a text was typed; None for what was not."""
    data = event._data if isinstance(event._data, dict) else {}  # None of what follows another event
    return data.get("number")


def seeds_of(typed: Typed) -> list[int]:
    return [(typed.request.seed + number) % (LARGEST_SEED + 1) for number in range(STRIP)]
