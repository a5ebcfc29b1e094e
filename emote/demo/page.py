"""The page: what is where, and which control calls what."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from emote.demo import markup
from emote.demo.handlers import ANOTHER, DRAW, LARGEST_SEED, MOST_CANDIDATES, TRAIN, Handlers, roll, wording
from emote.demo.live.handlers import LiveHandlers
from emote.demo.live.page import Controls, live_strip, live_switch, mixing_controls, wire
from emote.demo.notices import with_notice
from emote.demo.train_handlers import TrainHandlers
from emote.demo.train_tab import build_train_tab
from emote.packs.platforms import Platform

STYLE = Path(__file__).with_name("style.css")
LARGEST_SCALE = 2.0
MOST_STEPS = 60
# a click on a button with data-choice, inside a piece of HTML, reaches Python as that piece's select event
CHOOSE = """
element.addEventListener('change', event => {
  const index = Number(event.target.dataset.rename);
  if (event.target.dataset.rename) trigger('select', {index, name: event.target.value});
});
element.addEventListener('click', event => {
  const button = event.target.closest('[data-choice]');
  if (button) trigger('select', {index: Number(button.dataset.choice)});
});
"""
START = "Press Generate. Both images start from the same noise, so what differs is what was learned."
# Generate and Cancel change places in the browser. Generate comes back with the drawing's end or the answer to Cancel,
# not with the click: Gradio would drop a click on Generate until then. A drawing is named by the click, as Cancel may
# overtake it on its way
BEGIN = """(ticket, ...inputs) => {
  document.body.classList.add('drawing');
  window.drawing = Math.random().toString(36).slice(2);
  return [window.drawing, ...inputs];
}"""
CANCEL = "() => [window.drawing]"
END = "() => document.body.classList.remove('drawing')"
SAVE = "notice => notice || document.querySelector('#zip').click()"


html = partial(gr.HTML, apply_default_css=False)


def build_page(handlers: Handlers, train: TrainHandlers, live: LiveHandlers) -> gr.Blocks:
    first = handlers.catalogue.first
    with gr.Blocks(title="StableEmote", analytics_enabled=False) as page:
        head = html(handlers.header(first), elem_id="head")
        notice = html("", elem_id="notice")
        token = gr.BrowserState("", storage_key="emote")
        ticket = gr.Textbox(visible="hidden", elem_id="ticket")
        with gr.Tabs(elem_id="tabs") as tabs, gr.Tab("Draw", id=DRAW):
            with gr.Row(elem_id="desk", equal_height=False):
                with gr.Column(scale=4, min_width=300, elem_id="controls"):
                    prompt = gr.Textbox(first.subjects[0], label="What should it show?", info=wording(first), lines=1,
                                        max_lines=5, elem_id="prompt")  # fmt: skip
                    live_on, typing = live_switch(live)
                    examples = html(markup.examples(first.subjects), elem_id="examples", js_on_load=CHOOSE)
                    generate = gr.Button("Generate", variant="primary", elem_id="generate")
                    cancel = gr.Button("Cancel", elem_id="cancel")
                    with gr.Column(elem_id="settings"):
                        lora_scale = gr.Slider(0, LARGEST_SCALE, first.lora_scale, step=0.05, label="LoRA scale",
                                               buttons=[], info="How much of the style: 0 is the base model.",
                                               elem_id="lora-scale", interactive=first.adapter is not None)  # fmt: skip
                        with gr.Row(elem_id="seed-row"):
                            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=LARGEST_SEED,
                                             elem_id="seed", min_width=100)  # fmt: skip
                            dice = gr.Button("Roll", elem_id="dice", min_width=60, scale=0)
                        candidates = gr.Slider(1, MOST_CANDIDATES, 1, step=1, label="Candidates", buttons=[],
                                               elem_id="candidates", info="How many to choose from.")  # fmt: skip
                        with gr.Accordion("Steps and guidance", open=False, elem_id="more"):
                            steps = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps", buttons=[], elem_id="steps")
                            guidance = gr.Slider(1, 15, first.guidance_scale, step=0.5, label="Guidance", buttons=[],
                                                 elem_id="guidance", info="How literally words are taken.")  # fmt: skip
                        with gr.Accordion("Model", open=False, elem_id="models"):
                            model = gr.Dropdown(list(handlers.catalogue.choices), value=first.label,
                                                label="Runs on this disk", elem_id="model")  # fmt: skip
                            hub = gr.Textbox(
                                label="Or from the Hugging Face Hub", placeholder="owner/name", elem_id="hub"
                            )
                            fetch = gr.Button("Fetch", size="sm", elem_id="fetch")
                            also, weights = mixing_controls(handlers)
                with gr.Column(scale=7, min_width=300, elem_id="result"):
                    titles = (markup.BASE, markup.TUNED) if first.adapter else (markup.BASE,)
                    stage = html(markup.empty_stage(titles, START), elem_id="stage")
                    strip = live_strip()
                    with gr.Row(elem_id="actions"):
                        transparent = gr.Checkbox(True, label="Transparent", elem_id="transparent", min_width=120)
                        another = gr.Button("Another one", elem_id=ANOTHER, min_width=110)
                        add = gr.Button("Add to pack", elem_id="add", min_width=110)
                    chat = html(markup.chat(None), elem_id="chat")
            with gr.Row(elem_id="shelf", equal_height=False):
                with gr.Column(scale=7, min_width=300):
                    html("<h2>Made in this session</h2>")
                    gallery = html(markup.gallery([], [], 0, True), elem_id="gallery", js_on_load=CHOOSE)
                with gr.Column(scale=4, min_width=300):
                    html("<h2>Your pack</h2>")
                    pack = html(markup.pack([], []), elem_id="pack", js_on_load=CHOOSE)
                    with gr.Row(elem_id="downloads"):
                        html('<p class="hint">Download for</p>', elem_id="download-label")
                        downloads = {name: gr.Button(name.title(), size="sm", min_width=80, elem_id=f"download-{name}")
                                     for name in Platform.__members__}  # fmt: skip
                    zip_file = gr.DownloadButton("zip", visible="hidden", elem_id="zip")

        # only drawings are queued: Gradio closes a page's event stream with the last queued call that ends, and may
        # lose the answers of one that begins just then. "multiple": a click that comes before the last answer counts
        at_once: dict[str, Any] = {"show_progress": "hidden", "queue": False, "trigger_mode": "multiple"}

        def on(
            trigger: Any,
            action: Callable[..., Any],
            inputs: Any,
            outputs: list[Any],
            wipes: bool = True,
            **options: Any,
        ) -> Any:
            act = with_notice(action, len(outputs), wipes=wipes)
            return gr.on(trigger, act, inputs, [*outputs, notice], api_visibility="private", **{**at_once, **options})

        chosen = [prompt, examples, head, guidance, lora_scale, also]
        images = [stage, chat, gallery]
        controls = Controls(live_on, typing, strip, also, weights)

        on(page.load, handlers.open, [token, transparent], [token, model, *images, pack], wipes=False)
        page.unload(handlers.leave)
        on(model.input, handlers.choose, [model, prompt], chosen)
        on([fetch.click, hub.submit], handlers.from_hub, [hub, prompt], [model, *chosen],
           show_progress="minimal", show_progress_on=hub, trigger_mode="once")  # fmt: skip
        on(examples.select, handlers.pick_example, model, [prompt])
        on(dice.click, roll, None, [seed])

        drawing = on(
            [generate.click, prompt.submit, another.click],
            handlers.draw,
            [ticket, prompt, seed, steps, guidance, lora_scale, transparent, model, candidates, *controls.mixing],
            [seed, *images],
            js=BEGIN,
            queue=True,
            trigger_mode="once",
            concurrency_limit=1,
            show_progress="full",
            show_progress_on=stage,
        )
        drawing.then(None, js=END)
        drawing.failure(None, js=END)
        on(cancel.click, handlers.cancel, ticket, [], cancels=[drawing], js=CANCEL)

        typed = [live_on, prompt, seed, transparent, model, lora_scale, *controls.mixing]
        wire(on, controls, live, typed, seed, transparent, images, notice)

        on(transparent.input, handlers.look, transparent, images)
        on(gallery.select, handlers.bring_back, transparent, images)
        on(add.click, handlers.add_to_pack, transparent, [pack])
        on(pack.select, handlers.change_pack, None, [pack])
        for name, button in downloads.items():
            on(button.click, _writer(handlers, name), None, [zip_file]).success(None, notice, js=SAVE)
        with tabs, gr.Tab("Train", id=TRAIN):
            draw_with_it = build_train_tab(train, on, page)

        def draw_with(prompt: str, request: gr.Request) -> tuple[Any, ...]:
            return handlers.draw_with(train.label(), prompt, request)

        on(draw_with_it.click, draw_with, prompt, [model, tabs, *chosen])
    return page


def _writer(handlers: Handlers, platform: str) -> Callable[..., Path]:
    def write(request: gr.Request) -> Path:
        return handlers.download(platform, request)

    return write
