"""The picture that one looks at: base model and fine-tuned side by side, with prompt, seed and step."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 144  # px a picture, so that a sheet of 64 px pictures can be looked at
GAP = 10
INK, PALE, PAPER = "#1f2328", "#6e7781", "#ffffff"


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow's own: the same on every machine


def wrap(text: str, width_px: int, size: int, lines: int) -> list[str]:
    """Break a text into at most so many lines, one at least; what does not fit ends in an ellipsis."""
    face, rest = font(size), text.split() or [""]
    out: list[str] = []
    while rest and len(out) < lines:
        line = rest.pop(0)
        while rest and face.getlength(f"{line} {rest[0]}") <= width_px:
            line += " " + rest.pop(0)
        out.append(line)
    if rest:
        out[-1] += " …"
    return [line if face.getlength(line) <= width_px else _shorten(line, width_px, face) for line in out]


def _shorten(line: str, width_px: int, face: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    def ending_at(count: int) -> str:
        return line[:count].rstrip(" …") + "…"

    counts = range(min(len(line), width_px), 0, -1)  # letters have a pixel at least; long texts take long
    return next((ending_at(n) for n in counts if face.getlength(ending_at(n)) <= width_px), "…")


def before_after_sheet(
    base: Sequence[Image.Image],
    tuned: Sequence[Image.Image],
    labels: Sequence[str],
    seeds: Sequence[int],
    title: str,
    columns: int = 4,
) -> Image.Image:
    """Pairs in a grid: left as the base model draws it, right as the adapter does, same prompt and noise."""
    columns = min(columns, len(base))
    rows = -(-len(base) // columns)
    pair, line = 2 * CELL + 4, 17
    tall = 18 + CELL + 2 * line + 6
    width = GAP + columns * (pair + GAP)
    sheet = Image.new("RGB", (width, 40 + rows * (tall + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), wrap(title, width - 2 * GAP, 17, 1)[0], INK, font(17))
    for i, (left, right, label, seed) in enumerate(zip(base, tuned, labels, seeds, strict=True)):
        x, y = GAP + i % columns * (pair + GAP), 40 + i // columns * (tall + GAP)
        draw.text((x, y), "base", PALE, font(13))
        draw.text((x + CELL + 4, y), "fine-tuned", PALE, font(13))
        sheet.paste(enlarge(left), (x, y + 18))
        sheet.paste(enlarge(right), (x + CELL + 4, y + 18))
        text = [*wrap(label, pair, 13, 1), f"seed {seed}"]
        for n, words in enumerate(text):
            draw.text((x, y + 20 + CELL + n * line), words, PALE if n else INK, font(13))
    return sheet


def enlarge(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)


def picture_sheet(pictures: Sequence[Image.Image], labels: Sequence[str], columns: int = 6) -> Image.Image:
    """Pictures in a grid, each with its label."""
    rows, tall = -(-len(pictures) // columns), CELL + 22
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), GAP + rows * (tall + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = GAP + i % columns * (CELL + GAP), GAP + i // columns * (tall + GAP)
        sheet.paste(enlarge(picture), (x, y))
        draw.text((x, y + CELL + 3), wrap(label, CELL, 13, 1)[0], INK, font(13))
    return sheet
