"""What each control of the page does. Nothing here knows where on the page it is."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from emote.demo import markup
from emote.demo.catalogue import Catalogue, Choice
from emote.demo.session import Drawing, Visit, Visits, file_name
from emote.demo.shared_generator import SharedStudio
from emote.inference.image_generator import Cancelled
from emote.inference.prompt_template import in_template
from emote.inference.request import Request
from emote.util.errors import ConfigError

LARGEST_SEED = 2**32 - 1
SHOWN_LETTERS = 80
LONGEST_PROMPT = 1000  # characters; text encoders read about 300
NO_RUN_YET = "There is no run here yet: make quickstart trains one in minutes."
ANOTHER = "another"  # the id of the button that draws with a new seed


def in_words(action: Callable[..., Any]) -> Callable[..., Any]:
    """Mistakes become messages on the page. Gradio shows them as HTML, so what visitors typed is escaped."""

    @wraps(action)  # Gradio reads the signature
    def act(*arguments: Any, **keywords: Any) -> Any:
        try:
            return action(*arguments, **keywords)
        except ConfigError as error:
            text = escape(str(error)).replace("\n", "<br>")
            raise gr.Error(text, title="That does not work", print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            text = f"{type(error).__name__}; the terminal says more"
            raise gr.Error(text, title="Something broke", print_exception=False) from error

    return act


class Desk:
    """Methods that end in a picture return (stage, chat, gallery) as HTML, as `_look` makes them."""

    def __init__(self, studio: SharedStudio, catalogue: Catalogue, visits: Visits) -> None:
        self.studio, self.catalogue, self.visits = studio, catalogue, visits

    def visit(self, request: gr.Request) -> Visit:
        return self.visits.of(str(request.session_hash))

    def choices(self, visit: Visit) -> dict[str, Choice]:
        return {**visit.fetched, **self.catalogue.choices}

    def choice(self, visit: Visit, label: str | None) -> Choice:
        choices = self.choices(visit)
        if label not in choices:
            raise ConfigError(f"{label or 'nothing'} is not on this disk any more; choose another model")
        return choices[label]

    @in_words
    def open(self, request: gr.Request) -> Any:
        """A page was opened: the list of models as the disk has it now."""
        self.catalogue.refresh()
        return gr.Dropdown(choices=list(self.choices(self.visit(request))))

    @in_words
    def choose(self, label: str, prompt: str, request: gr.Request) -> tuple[Any, ...]:
        """Another model: (prompt, examples, header, guidance, LoRA scale). A prompt of the visitor's own stays."""
        visit = self.visit(request)
        choice = self.choice(visit, label)
        own = prompt.strip() and not any(prompt in other.subjects for other in self.choices(visit).values())
        return (
            gr.Textbox(value=prompt if own else choice.subjects[0], info=wording(choice)),
            markup.examples(choice.subjects),
            self.header(choice),
            choice.guidance_scale,
            gr.Slider(value=choice.lora_scale, interactive=choice.adapter is not None),
        )

    def header(self, choice: Choice) -> str:
        base = Path(choice.model.path)
        name = base.name if base.is_absolute() else str(base)
        if choice.adapter:
            return markup.header(choice.label, f"on {name} at {choice.side_px} px")
        return markup.header(f"{name} as it is", "" if self.catalogue.has_adapters else NO_RUN_YET)

    @in_words
    def from_hub(self, name: str, prompt: str, request: gr.Request) -> tuple[Any, ...]:
        """Fetch an adapter: (list of models, …) as `choose`."""
        visit = self.visit(request)
        choice = self.catalogue.from_hub(name)
        visit.fetched[choice.label] = choice
        models = gr.Dropdown(choices=list(self.choices(visit)), value=choice.label)
        return models, *self.choose(choice.label, prompt, request)

    @in_words
    def pick_example(self, label: str, request: gr.Request, event: gr.EventData) -> str:
        return self.choice(self.visit(request), label).subjects[event.index]

    @in_words
    def draw(
        self,
        prompt: str,
        seed: float | None,
        steps: float,
        guidance: float,
        lora_scale: float,
        transparent: bool,
        label: str,
        request: gr.Request,
        event: gr.EventData,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple[Any, ...]:
        """(seed, stage, chat, gallery). The button that asks for another one draws with a new seed."""
        visit = self.visit(request)
        cancelled = visit.begin()
        choice = self.choice(visit, label)
        another = getattr(event.target, "elem_id", None) == ANOTHER
        words = " ".join(prompt.split())
        seed = roll() if another or seed is None else int(seed)
        if not words:
            raise ConfigError("the box is empty: say what the emoji should show, or take one of the examples")
        if len(prompt) > LONGEST_PROMPT:
            raise ConfigError(f"prompt must have at most {LONGEST_PROMPT} characters, got {len(prompt)}")
        wanted = Request(
            prompt=in_template(words, choice.template),
            seed=seed,
            inference_steps=int(steps),
            guidance_scale=float(guidance),
            lora_scale=float(lora_scale) if choice.adapter else 0.0,
            width=choice.side_px,
            height=choice.side_px,
        )
        progress(None, desc="Loading the model")
        try:
            base, tuned, unread = self.studio.draw(
                choice.model,
                choice.adapter,
                wanted,
                on_step=lambda done, of: progress((done, of), desc="Drawing"),
                cancelled=cancelled.is_set,
            )
        except Cancelled:
            gr.Info("Nothing was kept.", title="Stopped", duration=3)
            return seed, gr.skip(), gr.skip(), gr.skip()
        if unread:
            shown = unread if len(unread) <= SHOWN_LETTERS else f"{unread[:SHOWN_LETTERS]}…"
            gr.Warning(f"The model had no room for “{escape(shown)}”.", title="A long prompt")
        visit.add(Drawing(words, wanted, choice, base, tuned))
        return seed, *self._look(visit, transparent)

    def cancel(self, request: gr.Request) -> None:
        self.visit(request).cancel()

    def leave(self, request: gr.Request) -> None:
        self.visits.leave(str(request.session_hash))

    @in_words
    def look(self, transparent: bool, request: gr.Request) -> tuple[Any, ...]:
        return self._look(self.visit(request), transparent)

    @in_words
    def bring_back(self, transparent: bool, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        visit = self.visit(request)
        if 0 <= event.index < len(visit.drawings):
            visit.shown = event.index
        return self._look(visit, transparent)

    def _look(self, visit: Visit, transparent: bool) -> tuple[Any, ...]:
        if visit.shown is None:
            return gr.skip(), markup.chat(None), markup.gallery([], [], 0, transparent)
        drawing, request = visit.drawings[visit.shown], visit.drawings[visit.shown].request
        plates = [
            markup.Plate(
                markup.BASE,
                visit.file(visit.shown, "base", transparent),
                file_name(drawing.words, request.seed, "base"),
            )
        ]
        if drawing.tuned:
            file = visit.file(visit.shown, "tuned", transparent)
            plates.append(markup.Plate(markup.TUNED, file, file_name(drawing.words, request.seed)))
        facts = [f"seed {request.seed}", f"{request.inference_steps} steps", f"guidance {request.guidance_scale:g}"]
        if drawing.tuned:
            facts.append(f"LoRA scale {request.lora_scale:g}")
        if request.prompt != drawing.words:
            facts.append(f"“{request.prompt}”")
        return (
            markup.stage(plates, drawing.words, " · ".join(facts), transparent),
            markup.chat(visit.file(visit.shown, "small", transparent)),
            markup.gallery(
                [visit.file(n, d.result, transparent) for n, d in enumerate(visit.drawings)],
                [d.words for d in visit.drawings],
                visit.shown,
                transparent,
            ),
        )

    @in_words
    def add_to_pack(self, transparent: bool, request: gr.Request) -> str:
        visit = self.visit(request)
        if visit.shown is None:
            raise ConfigError("there is no picture yet; draw one first")
        visit.add_to_pack(visit.shown, transparent)
        return self._pack(visit)

    @in_words
    def take_out(self, request: gr.Request, event: gr.EventData) -> str:
        visit = self.visit(request)
        visit.take_out(event.index)
        return self._pack(visit)

    def _pack(self, visit: Visit) -> str:
        return markup.pack([packed.file for packed in visit.pack.values()], visit.names())

    @in_words
    def download(self, platform: str, request: gr.Request) -> Path:
        """The zip of the pack for one platform."""
        return self.visit(request).write_pack(platform)


def wording(choice: Choice) -> str:
    """What becomes of the words that are typed. Gradio shows it as Markdown."""
    return f"Said to the model as “{escape(in_template('…', choice.template))}”." if choice.template else ""


def roll() -> int:
    return random.SystemRandom().randrange(LARGEST_SEED + 1)
