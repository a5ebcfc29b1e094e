"""What each control of the page does. Nothing here knows where on the page it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from emote.demo import markup
from emote.demo.catalogue import GUIDANCE, Catalogue, Choice
from emote.demo.notices import Noted
from emote.demo.session import Drawing, Session, Sessions, file_name
from emote.demo.shared_generator import SharedGenerator
from emote.inference.image_generator import Cancelled
from emote.inference.plan import SCHEDULER, STEPS
from emote.inference.prompt_template import in_template
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter, mixed
from emote.util.errors import ConfigError

MINIATURE = "weights/mini"
KNOWS_EMOJI = "The miniature knows emoji by their names: a face, an animal, a fruit, a vehicle; no scenes."
LARGEST_SEED = 2**32 - 1
MOST_CANDIDATES = 8
SHOWN_LETTERS = 80
LONGEST_TICKET = 64
LONGEST_PROMPT = 1000  # characters; text encoders read about 300
NO_RUN_YET = "There is no run here yet: the Train tab makes one of your images."
DRAW, TRAIN = "draw", "train"  # the tabs
# how the base model is drawn beside an adapter that draws in a few steps
OF_BASE = {"inference_steps": STEPS, "guidance_scale": GUIDANCE, "scheduler": SCHEDULER, "eta": None}
ANOTHER = "another"  # the id of the button that draws with a new seed


class Handlers:
    """Methods that end in an image return (stage, chat, gallery) as HTML, as `_look` makes them."""

    def __init__(self, image_generator: SharedGenerator, catalogue: Catalogue, sessions: Sessions) -> None:
        self.image_generator, self.catalogue, self.sessions = image_generator, catalogue, sessions

    def session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    def choices(self, session: Session) -> dict[str, Choice]:
        return {**session.fetched, **self.catalogue.choices}

    def choice(self, session: Session, label: str | None) -> Choice:
        choices = self.choices(session)
        if label not in choices:
            raise ConfigError(f"{label or 'nothing'} is not on this disk any more; choose another model")
        return choices[label]

    def open(self, token: str, transparent: bool, request: gr.Request) -> tuple[Any, ...]:
        """A page was opened, or loaded again: (token, list of models as the disk has it now, stage, …, pack)."""
        self.catalogue.refresh()
        session = self.sessions.of(str(request.session_hash), str(token or ""))
        models = gr.Dropdown(choices=list(self.choices(session)))
        return session.token, models, *self._look(session, transparent), self._pack(session)

    def choose(self, label: str, prompt: str, request: gr.Request) -> tuple[Any, ...]:
        """Another model: (prompt, examples, header, guidance, LoRA scale, what to mix in). An own prompt stays."""
        session = self.session(request)
        choice = self.choice(session, label)
        own = prompt.strip() and not any(prompt in other.subjects for other in self.choices(session).values())
        return (
            gr.Textbox(value=prompt if own else choice.subjects[0], info=wording(choice)),
            markup.examples(choice.subjects),
            self.header(choice),
            choice.guidance_scale,
            gr.Slider(value=choice.lora_scale, interactive=choice.adapter is not None),
            gr.Dropdown(choices=self.mixable(label, request), value=[]),
        )

    def draw_with(self, label: str, prompt: str, request: gr.Request) -> tuple[Any, ...]:
        """A run that has just finished: (list of models, tabs, …) as `choose`."""
        self.catalogue.refresh()
        models = gr.Dropdown(choices=list(self.choices(self.session(request))), value=label)
        return models, gr.Tabs(selected=DRAW), *self.choose(label, prompt, request)

    def header(self, choice: Choice) -> str:
        base = Path(choice.model.path)
        name = base.name if base.is_absolute() else str(base)
        if choice.adapter:
            return markup.header(choice.label, f"on {name} at {choice.side_px} px")
        return markup.header(f"{name} as it is", "" if self.catalogue.has_adapters else NO_RUN_YET)

    def from_hub(self, name: str, prompt: str, request: gr.Request) -> tuple[Any, ...]:
        """Fetch an adapter: (list of models, …) as `choose`."""
        session = self.session(request)
        choice = self.catalogue.from_hub(name)
        session.fetched[choice.label] = choice
        models = gr.Dropdown(choices=list(self.choices(session)), value=choice.label)
        return models, *self.choose(choice.label, prompt, request)

    def pick_example(self, label: str, request: gr.Request, event: gr.EventData) -> str:
        return self.choice(self.session(request), label).subjects[event.index]

    def draw(
        self,
        ticket: str | None,
        prompt: str,
        seed: float | None,
        steps: float,
        guidance: float,
        lora_scale: float,
        transparent: bool,
        label: str,
        candidates: float,
        also: list[str],
        weight_1: float,
        weight_2: float,
        weight_3: float,
        request: gr.Request,
        event: gr.EventData,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple[Any, ...] | Noted:
        """(seed, stage, chat, gallery). The button that asks for another one draws with a new seed.

        ticket: what the page calls this drawing, should it be cancelled.
        Several candidates have the seeds that follow; the first is shown, and the others are in the gallery.
        """
        session = self.session(request)
        cancelled = session.begin(_ticket(ticket))
        given = {"Steps": steps, "Guidance": guidance, "LoRA scale": lora_scale, "Candidates": candidates}
        if empty := [name for name, value in given.items() if value is None]:
            raise ConfigError(f"{empty[0]} is empty: write a number, or move its slider")
        choice = self.choice(session, label)
        another = getattr(event.target, "elem_id", None) == ANOTHER
        words = in_words(prompt)
        seed = roll() if another or seed is None else int(seed)
        if not words:
            raise ConfigError("the box is empty: say what the emoji should show, or take one of the examples")
        if len(prompt) > LONGEST_PROMPT:
            raise ConfigError(f"prompt must have at most {LONGEST_PROMPT} characters, got {len(prompt)}")
        adapter, scale = self.adapter(session, choice, lora_scale, also, [weight_1, weight_2, weight_3])
        if adapter and adapter.parts:  # what is packed says of what it is made
            choice = replace(choice, label=adapter.label, licence=adapter.licence)
        few = adapter.few_steps if adapter else None
        wanted = Request(
            prompt=in_template(words, choice.template),
            seed=seed,
            inference_steps=min(int(steps), few.most) if few else int(steps),
            guidance_scale=float(guidance),
            scheduler=few.scheduler if few else SCHEDULER,
            eta=few.eta if few else None,
            lora_scale=scale,
            width=choice.side_px,
            height=choice.side_px,
        )
        count = min(max(int(candidates), 1), MOST_CANDIDATES)
        progress(None, desc="Loading the model")
        first, unread, kept = len(session.drawings), "", 0
        for number in range(count):
            one = replace(wanted, seed=(seed + number) % (LARGEST_SEED + 1))
            said = "Drawing" if count == 1 else f"Drawing {number + 1} of {count}"
            try:
                base, tuned, unread = self.image_generator.draw(
                    choice.model,
                    adapter,
                    one,
                    of_base=OF_BASE if few else {},
                    on_step=lambda done, of, said=said: progress((done, of), desc=said),  # type: ignore[misc]
                    cancelled=cancelled.is_set,
                )
            except Cancelled:
                break
            session.add(Drawing(words, one, choice, base, tuned))
            kept += 1
        if not kept:
            return Noted((seed, gr.skip(), gr.skip(), gr.skip()), "Stopped; nothing was kept.")
        session.shown = first
        drawn = (seed, *self._look(session, transparent))
        if kept < count:
            return Noted(drawn, f"Stopped; {kept} of {count} are kept.")
        if not unread:
            return drawn
        shown = unread if len(unread) <= SHOWN_LETTERS else f"{unread[:SHOWN_LETTERS]}…"
        return Noted(drawn, f"A long prompt: the model had no room for “{shown}”.")

    def adapter(
        self, session: Session, choice: Choice, lora_scale: float, also: Sequence[str], weights: Sequence[float],
        scaled: bool = False,
    ) -> tuple[Adapter | None, float]:  # fmt: skip
        """Return what is drawn with, and its strength: one adapter, or several as one.

        also: labels of those that are mixed in, in the order of their weights. scaled: as a mix in any case, or None.
        Raises ConfigError where they cannot be mixed.
        """
        parts = [(self.choice(session, label).adapter, weight) for label, weight in zip(also, weights, strict=False)]
        if not parts and not scaled:
            return choice.adapter, float(lora_scale) if choice.adapter else 0.0
        used = [(one, float(weight)) for one, weight in [(choice.adapter, lora_scale), *parts] if one and weight]
        return (mixed(used) if used else None), 1.0 if used else 0.0

    def mixable(self, label: str, request: gr.Request) -> list[str]:
        """Labels of what can be mixed in: adapters of the same base model."""
        session = self.session(request)
        return self.mixable_with(self.choice(session, label), list(self.choices(session).values()))

    @staticmethod
    def mixable_with(choice: Choice, others: Sequence[Choice]) -> list[str]:
        return [
            other.label
            for other in others
            if other.adapter and other.label != choice.label and other.model.path == choice.model.path
        ]

    def cancel(self, ticket: str | None, request: gr.Request) -> None:
        self.session(request).cancel(_ticket(ticket))

    def leave(self, request: gr.Request) -> None:
        self.sessions.leave(str(request.session_hash))

    def look(self, transparent: bool, request: gr.Request) -> tuple[Any, ...]:
        return self._look(self.session(request), transparent)

    def bring_back(self, transparent: bool, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        session = self.session(request)
        if 0 <= event.index < len(session.drawings):
            session.shown = event.index
        return self._look(session, transparent)

    def _look(self, session: Session, transparent: bool) -> tuple[Any, ...]:
        if session.shown is None:
            return gr.skip(), markup.chat(None), markup.gallery([], [], 0, transparent)
        drawing, request = session.drawings[session.shown], session.drawings[session.shown].request
        plates = []
        if drawing.base:
            file = session.file(session.shown, "base", transparent)
            plates.append(markup.Plate(markup.BASE, file, file_name(drawing.words, request.seed, "base")))
        if drawing.tuned:
            file = session.file(session.shown, "tuned", transparent)
            title = markup.LIVE if drawing.draft else markup.TUNED
            plates.append(markup.Plate(title, file, file_name(drawing.words, request.seed)))
        facts = [f"seed {request.seed}", f"{request.inference_steps} steps", f"guidance {request.guidance_scale:g}"]
        if drawing.tuned and not drawing.draft:
            facts.append(f"LoRA scale {request.lora_scale:g}")
        if request.prompt != drawing.words:
            facts.append(f"“{request.prompt}”")
        return (
            markup.stage(plates, drawing.words, " · ".join(facts), transparent),
            markup.chat(session.file(session.shown, "small", transparent)),
            markup.gallery(
                [session.file(n, d.result, transparent) for n, d in enumerate(session.drawings)],
                [d.words for d in session.drawings],
                session.shown,
                transparent,
            ),
        )

    def add_to_pack(self, transparent: bool, request: gr.Request) -> str:
        session = self.session(request)
        if session.shown is None:
            raise ConfigError("there is no image yet; draw one first")
        session.add_to_pack(session.shown, transparent)
        return self._pack(session)

    def change_pack(self, request: gr.Request, event: gr.EventData) -> str:
        """Rename what has a new name, and take out what has none."""
        session, name = self.session(request), getattr(event, "name", None)
        if name is None:
            session.take_out(event.index)
        else:
            session.rename(event.index, str(name))
        return self._pack(session)

    def _pack(self, session: Session) -> str:
        return markup.pack([packed.file for packed in session.pack.values()], session.names())

    def download(self, platform: str, request: gr.Request) -> Path:
        """Return the zip of the pack for one platform."""
        return self.session(request).write_pack(platform)


def in_words(prompt: str) -> str:
    """Return what was typed with single blanks."""
    return " ".join(prompt.split())


def wording(choice: Choice) -> str:
    """Return what becomes of the words that are typed. Gradio shows it as Markdown."""
    known = KNOWS_EMOJI if choice.model.path == MINIATURE else ""
    told = f"Said to the model as “{escape(in_template('…', choice.template))}”." if choice.template else ""
    return f"{known} {told}".strip()


def _ticket(told: object) -> str:
    return str(told or "")[:LONGEST_TICKET]


def roll() -> int:
    return random.SystemRandom().randrange(LARGEST_SEED + 1)
