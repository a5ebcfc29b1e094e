"""The controls of drawing while one types, and of mixing adapters, and what calls what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emote.demo import markup
from emote.demo.handlers import Handlers
from emote.demo.live.handlers import LiveHandlers
from emote.demo.notices import with_notice

PAUSE_MS = 200  # in typing, after which there is something to draw
MOST_MIXED = 3  # adapters beside the chosen one
LARGEST_WEIGHT = 2.0
# a pause after letters reaches Python as a select event; when it was typed says which is the newest
TYPING = """
let pause;
document.addEventListener('input', event => {
  if (!event.target.closest('#prompt')) return;
  clearTimeout(pause);
  pause = setTimeout(() => trigger('select', {number: Date.now()}), PAUSE_MS);
});
const asked = event => { if (event.target.closest('#generate') || event.key === 'Enter') clearTimeout(pause); };
document.addEventListener('click', asked);
document.addEventListener('keydown', asked);
""".replace("PAUSE_MS", str(PAUSE_MS))
# a click on a tile or an arrow, and the arrow keys where nothing is written with them
STRIP = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-choice]');
  if (button && button.dataset.choice !== '0') trigger('select', {index: Number(button.dataset.choice)});
});
document.addEventListener('keydown', event => {
  const index = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  const writes = event.target.closest('input, textarea, [role=slider], [role=listbox], [role=tab]');
  if (index && !writes && element.querySelector('.strip')) trigger('select', {index});
});
"""


@dataclass(frozen=True)
class Controls:
    """also: labels of what is mixed in; weights: their sliders, of which so many are seen."""

    live: gr.Checkbox
    typing: gr.HTML
    strip: gr.HTML
    also: gr.Dropdown
    weights: list[gr.Slider]

    @property
    def mixing(self) -> list[Any]:
        return [self.also, *self.weights]


def live_switch(handlers: LiveHandlers) -> tuple[gr.Checkbox, gr.HTML]:
    """Beside the prompt."""
    can = handlers.speed_of(handlers.handlers.catalogue.first) is not None
    live = gr.Checkbox(can, label="Draw while I type", elem_id="live", interactive=can,
                       info="" if can else "Needs an adapter that draws in a few steps: set speed=")  # fmt: skip
    return live, gr.HTML("", elem_id="typing", js_on_load=TYPING, apply_default_css=False)


def live_strip() -> gr.HTML:
    """Below the stage."""
    return gr.HTML(markup.strip([], []), elem_id="strip", js_on_load=STRIP, apply_default_css=False)


def mixing_controls(handlers: Handlers) -> tuple[gr.Dropdown, list[gr.Slider]]:
    """Beside the list of models: which others are mixed in, and a slider for each."""
    choices = handlers.mixable_with(handlers.catalogue.first, list(handlers.catalogue.choices.values()))
    also = gr.Dropdown(choices, value=[], multiselect=True, max_choices=MOST_MIXED, label="Mix in", elem_id="also")
    weights = [
        gr.Slider(0, LARGEST_WEIGHT, 0.5, step=0.05, label="", visible=False, buttons=[], elem_id=f"weight-{number}")
        for number in range(1, MOST_MIXED + 1)
    ]
    return also, weights


def sliders_of(also: list[str]) -> list[Any]:
    """One slider for each that is mixed in, called as it is."""
    return [
        gr.Slider(visible=number < len(also), label=also[number] if number < len(also) else "")
        for number in range(MOST_MIXED)
    ]


def wire(
    on: Callable[..., Any], controls: Controls, handlers: LiveHandlers, typed: list[Any], seed: gr.Number,
    transparent: gr.Checkbox, images: list[Any], notice: gr.HTML,
) -> None:  # fmt: skip
    """typed: what the first picture is drawn from. images: (stage, chat, gallery)."""

    def then(event: Any, action: Callable[..., Any], inputs: Any, outputs: list[Any]) -> Any:
        act = with_notice(action, len(outputs), wipes=False)
        return event.then(act, inputs, [*outputs, notice], **QUIET)

    def better(drawn: Any) -> None:
        then(then(drawn, handlers.neighbours, None, [controls.strip]), handlers.refine, transparent, images)

    first = [images[0], controls.strip]
    on(controls.also.input, sliders_of, controls.also, controls.weights)
    better(on(controls.typing.select, handlers.draw, typed, first))
    better(then(on(controls.strip.select, handlers.pick, seed, [seed]), handlers.draw, typed, first))
    for slider in controls.weights:
        better(on(slider.release, handlers.draw, typed, first))


QUIET: dict[str, Any] = {
    "show_progress": "hidden", "queue": False, "trigger_mode": "multiple", "api_visibility": "private"
}  # fmt: skip
