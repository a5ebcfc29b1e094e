"""What a run, or `emote data check`, says of its images before anything is encoded: data.txt and data.png."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from emote.config import Config
from emote.data.background import WHITE
from emote.data.images import BadImage, Layout, to_pixels
from emote.data.prepared import Scan, Scanned, layout_of, without
from emote.data.reading.text import LITERAL
from emote.data.report.looks import Looks, look_at, unusable
from emote.data.report.report import Cut, Report, make_report
from emote.imaging.data_sheet import Cell, data_sheet
from emote.models.components import load_tokenizer
from emote.models.prompts import cut_captions
from emote.util.console import console, echo, progress_bar
from emote.util.errors import ConfigError
from emote.util.files import write_text, write_with

MOST_LINES = 12  # that are printed; the file has all
ON_SHEET, ODD_ON_SHEET = 48, 24
WORTH_A_BAR = 2000  # images


def usable(config: Config, found: Scan) -> Scan:
    """Return what can be decoded. Every process of a run must see the same, or their caches differ."""
    return without(found, unusable(_look(config, found, layout_of(config.data))), config.data.on_bad_item)


def report_data(config: Config, found: Scan, base: Path | None, folder: Path) -> Scan:
    """Look at the images, write data.txt and data.png into `folder`, print the essence, and return what can be used.

    base: where the tokenizer lies; None where the base model is not on this machine. Raises ConfigError as
    `apply_policy`, once all is written.
    """
    layout = layout_of(config.data)
    looks = _look(config, found, layout)
    report = make_report(found, config.data, looks, _cut(base, {entry.item.caption for entry in found.entries}))
    if signs := [prompt for prompt in config.callbacks.samples.prompts if LITERAL.search(prompt)]:
        report.advice.append(f"sample prompts hold signs of other programs, which are taken literally: {signs[0]}")
    if cut := _cut(base, config.callbacks.samples.prompts):
        report.advice += [
            f"a sample prompt is longer than the {cut.limit} tokens that the text encoder reads; cut after: {kept}"
            for kept in cut.kept.values()
        ]
    write_text(folder / "data.txt", report.text)
    used = [entry for entry in found.entries if not isinstance(looks.get(entry.content), str)]
    cells = list(_cells(_chosen(used, report), report, layout))
    title = f"{len(used):,} images as the model sees them, at {layout.resolution} px"
    if cells:
        write_with(folder / "data.png", partial(data_sheet(cells, title).save, format="PNG"))
    for line in report.head:
        echo(line)
    for line in report.advice[:MOST_LINES]:
        echo(f"  - {line}")
    if len(report.advice) > MOST_LINES:
        echo(f"  - and {len(report.advice) - MOST_LINES} more remarks in {folder / 'data.txt'}")
    echo(f"  all of it: {folder / 'data.txt'}; look at {folder / 'data.png'}")
    return without(found, unusable(looks), config.data.on_bad_item)


def _look(config: Config, found: Scan, layout: Layout) -> Looks:
    if found.source.is_curated:
        return {}
    items = {entry.content: entry.item for entry in found.entries}
    with ExitStack() as stack:
        on_image = None
        if len(items) >= WORTH_A_BAR:
            bar = stack.enter_context(progress_bar(console))
            task = bar.add_task("looking at the images", total=len(items), note="")
            on_image = partial(bar.advance, task)
        return look_at(items, layout, Path(config.run.cache_dir), on_image or (lambda: None))


def _cut(base: Path | None, captions: Iterable[str]) -> Cut | None:
    if base is None:
        return None
    try:
        return Cut(*cut_captions(load_tokenizer(base), sorted(captions)))
    except ConfigError:
        return None


def _chosen(used: list[Scanned], report: Report) -> list[Scanned]:
    """The odd ones first, then others from all over the set."""
    odd = [entry for entry in used if entry.content in report.marks][:ODD_ON_SHEET]
    rest = [entry for entry in used if entry.content not in report.marks]
    room = ON_SHEET - len(odd)
    return odd + (rest[:: -(-len(rest) // room)] if rest else [])


def _cells(entries: list[Scanned], report: Report, layout: Layout) -> Iterable[Cell]:
    plain = replace(layout, background=WHITE) if layout.background == "random" else layout
    for entry in entries:
        try:
            pixels = to_pixels(entry.item.read(), plain, rendering=entry.item.rendering)
        except (BadImage, OSError):
            continue
        yield Cell(Image.fromarray(pixels), entry.item.caption, ", ".join(report.marks.get(entry.content, ())))
