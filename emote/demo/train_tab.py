"""The Train tab: from one's own images to a model that draws like them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from emote.demo import train_markup
from emote.demo.train_handlers import TrainHandlers
from emote.demo.train_settings import BASES, FEWEST_STEPS, MEANINGS, MOST_STEPS

LOOK_AGAIN_S = 1.0
PROMPTS = "a robot\na cat face\na red heart\na fairy"

# Gradio keeps of a file the last part of its name, and takes no folder that is dropped: what the browser tells of
# folders is kept here, file for file, and a dropped one is handed to the button's own input
FOLDERS = """() => {
  let dropped = null;
  document.addEventListener('change', event => {
    if (!event.target.webkitdirectory) return;
    window.folderPaths = dropped || [...event.target.files].map(file => file.webkitRelativePath || file.name);
    dropped = null;
  }, true);
  const walk = async (entry, folder, found) => {
    const path = folder + entry.name;
    if (entry.isFile) found.push([path, await new Promise((done, failed) => entry.file(done, failed))]);
    else for (const reader = entry.createReader();;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const inner of some) await walk(inner, path + '/', found);
    }
  };
  document.addEventListener('drop', async event => {
    if (!event.target.closest?.('#files')) return;
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(entry => entry);
    if (!entries.some(entry => entry.isDirectory)) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.dispatchEvent(new DragEvent('drop', {bubbles: true, dataTransfer: new DataTransfer()}));
    const found = [], files = new DataTransfer();
    for (const entry of entries) await walk(entry, '', found);
    for (const [path, file] of found) files.items.add(file);
    const input = document.querySelector('input[webkitdirectory]');
    dropped = found.map(([path]) => path);
    input.files = files.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  }, true);
}"""
# nothing where the two lists do not fit
TOLD = """(files, told, trigger) => {
  const paths = window.folderPaths || [];
  const fit = files?.length === paths.length && files.every((file, n) => paths[n].endsWith(file.orig_name));
  return [files, JSON.stringify(fit && paths.some(path => path.includes('/')) ? paths : []), trigger];
}"""

html = partial(gr.HTML, apply_default_css=False)


def build_train_tab(handlers: TrainHandlers, on: Any, page: gr.Blocks) -> gr.Button:
    """on: as in `build_page`, with a notice for mistakes. Return the button that asks to draw with what was trained."""
    with gr.Row(elem_id="train", equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_id="train-controls"):
            html("<h2>Your images</h2>")
            html('<p class="hint">Images called as what they show, such as party_cat.png: some, a folder or a zip.</p>')
            files = gr.File(file_count="multiple", show_label=False, height=140, elem_id="files")
            folder = gr.UploadButton("Choose a folder", file_count="directory", size="sm", elem_id="folder")
            told = gr.Textbox(visible="hidden", elem_id="told")
            name = gr.Textbox("mine", label="Name", info=MEANINGS["name"], max_lines=1, elem_id="run-name")
            trigger = gr.Textbox(label="Trigger word", info=MEANINGS["trigger"], max_lines=1, elem_id="trigger")
            base = gr.Dropdown(list(BASES), label="Base model", info=MEANINGS["base"], elem_id="base")
            steps = gr.Number(200, label="Steps", info=MEANINGS["steps"], precision=0, minimum=FEWEST_STEPS,
                              maximum=MOST_STEPS, elem_id="max-steps")  # fmt: skip
            prompts = gr.Textbox(PROMPTS, label="Samples", info=MEANINGS["prompts"], lines=4, elem_id="samples")
            start = gr.Button("Train", variant="primary", elem_id="start")
            stop = gr.Button("Stop", visible=False, elem_id="stop")
            go_on = gr.Button("Go on", visible=False, elem_id="go-on")
            draw = gr.Button("Draw with it", variant="primary", visible=False, elem_id="draw-with-it")
        with gr.Column(scale=7, min_width=300, elem_id="train-result"):
            html("<h2>Training</h2>")
            status = html(train_markup.NO_TRAINING, elem_id="status")
            html("<h2>What was found</h2>")
            found = html(train_markup.NOTHING_YET, elem_id="found")
    shown = [status, start, stop, go_on, draw]
    looking: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": found, "trigger_mode": "once"}
    on(files.upload, handlers.look, [files, trigger], [found, files], **looking)
    on(folder.upload, handlers.look_folder, [folder, told, trigger], [found, folder], js=TOLD, **looking)
    page.load(None, js=FOLDERS)
    on(start.click, handlers.begin, [name, trigger, base, steps, prompts], shown, trigger_mode="once")
    on(stop.click, handlers.stop, None, shown)
    on(go_on.click, handlers.go_on, None, shown, trigger_mode="once")
    on(page.load, handlers.show, None, shown, wipes=False)
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.Timer(LOOK_AGAIN_S).tick(handlers.tick, None, shown, **quiet)  # without the notice, which it would wipe away
    return draw
