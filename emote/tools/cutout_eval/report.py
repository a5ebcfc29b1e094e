"""`emote tools evaluate-cutout`: cut out art whose truth is known, print a table, and draw the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from emote.config import key
from emote.data.art import PACKAGES
from emote.imaging.cutout import AUTO, parse_background
from emote.imaging.sheet import GAP, INK, PALE, PAPER, enlarge, font, wrap
from emote.tools.cutout_eval.measure import (
    GOAL_ERROR,
    GOAL_IOU,
    WITHIN,
    Scored,
    Shown,
    Summary,
    autoencoder,
    score_art,
    summarise,
)
from emote.util.console import make_console, progress_bar
from emote.util.errors import ConfigError
from emote.util.files import write_json, write_with
from emote.util.markdown import table

WORST = 10
CELL_PX = 144
console = make_console()


@dataclass
class Options:
    n: int = key("images of each source", at_least=1, default=1000)
    size: int = key("side in pixels", at_least=8, at_most=1024, default=128)
    sources: list[str] = key("art sets", default=["openmoji", "twemoji"])
    backgrounds: list[str] = key("colours under the drawings, one row each", default=["white", "#00b140"])
    told: bool = key("cut_out is told the colour; false: it finds it, as for generated images", default=False)
    vae: str | None = key("first through the autoencoder of this model (a diffusers directory)", default=None)
    output: str = key("folder for the worst images and summary.json", default="outputs/cutout")


def evaluate(options: Options) -> int:
    """Print a row for each source and background; write the worst ten of each. Raises ConfigError."""
    _check(options)
    redraw = autoencoder(Path(options.vae)) if options.vae else None
    out, rows = Path(options.output), []
    with progress_bar(console) as bar:
        task = bar.add_task("cutting out", total=options.n * len(options.sources) * len(options.backgrounds), note="")
        for source in options.sources:
            for background in options.backgrounds:
                scored: list[Scored] = []
                worst: list[tuple[Scored, Shown]] = []  # the images of all would fill the memory
                told = background if options.told else AUTO
                for one, shown in score_art(source, options.n, options.size, background, told, redraw):
                    scored.append(one)
                    worst = sorted([*worst, (one, shown)], key=lambda pair: (-pair[0].error, pair[0].name))[:WORST]
                    bar.advance(task)
                summary = summarise(scored)
                path = out / f"worst-{source}-{background.lstrip('#')}{'-vae' if redraw else ''}.png"
                sheet = worst_sheet(worst, f"the worst of {len(scored):,} {source} over {background}")
                write_with(path, lambda temporary, sheet=sheet: sheet.save(temporary, format="PNG"))  # type: ignore[misc]
                rows.append((source, background, summary, path))
    console.print("\n".join(_table(rows)), markup=False)
    console.print(
        "error: mean absolute error of alpha; lost, kept: of it, where alpha is too low, too high; "
        f"within: images with at most {WITHIN}; goal: error at most {GOAL_ERROR}, IoU at least {GOAL_IOU}"
    )
    for *_, path in rows:
        console.print(str(path), markup=False)
    report = [{"source": source, "background": colour, **found.as_dict()} for source, colour, found, _ in rows]
    write_json(out / "summary.json", {"size": options.size, "told": options.told, "vae": options.vae, "rows": report})
    return 0


def worst_sheet(worst: Sequence[tuple[Scored, Shown]], title: str) -> Image.Image:
    """A column each: what was cut out of, the result and the truth on a checkerboard, the error, the name."""
    sheet = Image.new("RGB", (GAP + len(worst) * (CELL_PX + GAP), 40 + 3 * (CELL_PX + GAP) + 44), PAPER)
    draw = ImageDraw.Draw(sheet)
    words = f"{title}: drawn, cut out, truth"
    draw.text((GAP, 10), wrap(words, sheet.width - 2 * GAP, 17, 1)[0], INK, font(17))
    for i, (one, shown) in enumerate(worst):
        x, y = GAP + i * (CELL_PX + GAP), 40
        for image in shown:
            sheet.paste(enlarge(image, CELL_PX), (x, y))
            draw.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), outline="#d8dee4")
            y += CELL_PX + GAP
        draw.text((x, y - 6), f"error {one.error:.3f}, IoU {one.iou:.2f}", INK, font(13))
        draw.text((x, y + 12), wrap(one.caption, CELL_PX, 13, 1)[0], PALE, font(13))
    return sheet


def _check(options: Options) -> None:
    wrong = [
        f"sources must be of {', '.join(PACKAGES)}, got {name}" for name in options.sources if name not in PACKAGES
    ]
    for background in options.backgrounds:
        try:
            if parse_background(background) is None:
                wrong.append("backgrounds must be colours, got auto")
        except ConfigError as error:
            wrong.append(str(error).replace("background must be auto or", "backgrounds must be"))
    if options.vae and not (Path(options.vae) / "vae").is_dir():
        wrong.append(f"vae must be a diffusers directory with an autoencoder such as weights/mini, got {options.vae}")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _table(rows: Sequence[tuple[str, str, Summary, Path]]) -> list[str]:
    head = [
        "source",
        "over",
        "images",
        "error",
        "median",
        "95th",
        "lost",
        "kept",
        "IoU",
        "within",
        "on black",
        "goal",
    ]
    return table(head, [_cells(source, background, summary) for source, background, summary, _ in rows])


def _cells(source: str, background: str, s: Summary) -> list[str]:
    numbers = [f"{s.error:.4f}", f"{s.error_median:.5f}", f"{s.error_95th:.4f}", f"{s.lost:.4f}", f"{s.kept:.4f}"]
    shares = [f"{s.iou:.4f}", f"{s.within:.1%}", f"{s.over_black:.4f}", "met" if s.meets_goal else "missed"]
    return [source, background, f"{s.images:,}", *numbers, *shares]
