"""What the page shows beyond Gradio's own controls, as HTML. All text that a visitor typed passes `escape`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Plate:
    """An image on the stage: what it is, the file to look at and the file to keep."""

    title: str
    file: Path
    download: str


BASE, TUNED, LIVE = "Base model", "Fine-tuned", "As you type"


def url(file: Path) -> str:
    """Where the page finds a file of the demo's temporary directory; relative, so that a proxy's path survives."""
    return f"gradio_api/file={quote(file.as_posix())}"


def header(model: str, note: str) -> str:
    return (
        '<div class="masthead"><h1>StableEmote</h1>'
        f'<p><span class="model">{escape(model)}</span> <span class="note">{escape(note)}</span></p></div>'
    )


def examples(words: Sequence[str]) -> str:
    """Buttons that put words into the box."""
    buttons = (
        f'<button type="button" class="chip" data-choice="{i}">{escape(text)}</button>' for i, text in enumerate(words)
    )
    return f'<div class="chips" aria-label="Examples">{"".join(buttons)}</div>'


def empty_stage(titles: Sequence[str], hint: str) -> str:
    blank = '<div class="canvas blank" aria-hidden="true"></div>'
    plates = "".join(f'<figure class="plate"><figcaption>{title}</figcaption>{blank}</figure>' for title in titles)
    return f'<div class="stage">{plates}</div><p class="hint">{escape(hint)}</p>'


def stage(plates: Sequence[Plate], words: str, facts: str, transparent: bool) -> str:
    """Return the images side by side, on a checkerboard where they are transparent, and how they came about."""
    figures = "".join(
        f'<figure class="plate"><figcaption><span>{escape(plate.title)}</span>'
        f'<a href="{url(plate.file)}" download="{escape(plate.download)}">Save</a></figcaption>'
        f'<div class="canvas{" checker" if transparent else ""}">'
        f'<img src="{url(plate.file)}" alt="{escape(plate.title)}: {escape(words)}"></div></figure>'
        for plate in plates
    )
    return (
        f'<div class="stage">{figures}</div>'
        f'<p class="words" dir="auto">{escape(words)}</p><p class="facts" dir="auto">{escape(facts)}</p>'
    )


def strip(files: Sequence[Path | None], seeds: Sequence[int]) -> str:
    """Return the same words from several noises, the first chosen, and arrows to more; None: not drawn yet."""
    if not files:
        return ""
    tiles = (
        f'<button type="button" class="tile" data-choice="{i}" aria-pressed="{"true" if i == 0 else "false"}" '
        f'title="seed {seed}">' + (f'<img src="{url(file)}" alt="seed {seed}">' if file else "<i></i>") + "</button>"
        for i, (file, seed) in enumerate(zip(files, seeds, strict=True))
    )
    return (
        '<div class="strip" aria-label="Other seeds; the arrow keys walk along them">'
        '<button type="button" class="walk" data-choice="-1" aria-label="The seed before">‹</button>'
        f"{''.join(tiles)}"
        '<button type="button" class="walk" data-choice="1" aria-label="The next seed">›</button></div>'
    )


def chat(small: Path | None) -> str:
    """Return the emoji where it will live: 20, 24 and 32 px in a light and in a dark chat."""

    def emoji(size: int) -> str:
        if small is None:
            return f'<i class="emoji none" style="--size:{size}px"></i>'
        return f'<img class="emoji" style="--size:{size}px" src="{url(small)}" alt="">'

    def pane(kind: str) -> str:
        return (
            f'<div class="chat {kind}">'
            f'<div class="message"><b>Ada</b><span class="bubble">It runs on the first try {emoji(24)}</span>'
            f'<span class="reactions"><span>{emoji(20)} 4</span><span>{emoji(20)} 1</span></span></div>'
            f'<div class="message mine"><span class="bubble">{emoji(24)} ship it</span>'
            f'<span class="jumbo">{emoji(32)}{emoji(32)}{emoji(32)}</span></div></div>'
        )

    return f'<div class="chats">{pane("day")}{pane("night")}</div>'


def gallery(files: Sequence[Path], prompts: Sequence[str], shown: int, transparent: bool) -> str:
    """Everything drawn in this session, the newest first; a click brings it back."""
    if not files:
        return '<p class="hint">What you draw collects here.</p>'
    tiles = (
        f'<button type="button" class="tile{" checker" if transparent else ""}" data-choice="{i}" '
        f'aria-pressed="{"true" if i == shown else "false"}" title="{escape(prompts[i])}">'
        f'<img src="{url(files[i])}" alt="{escape(prompts[i])}"></button>'
        for i in reversed(range(len(files)))
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def pack(files: Sequence[Path], names: Sequence[str]) -> str:
    """Return the emoji chosen for the pack, each with its shortcode and a button that takes it out."""
    if not files:
        return '<p class="hint">Nothing in it yet: add an image you like.</p>'
    rows = (
        f'<li><img src="{url(file)}" alt=""><code>:<input value="{escape(name)}" '
        f'data-rename="{i}" aria-label="Name of {escape(name)}" maxlength="32" spellcheck="false">:</code>'
        f'<button type="button" data-choice="{i}" aria-label="Take {escape(name)} out of the pack">×</button></li>'
        for i, (file, name) in enumerate(zip(files, names, strict=True))
    )
    return f'<ul class="pack">{"".join(rows)}</ul>'
