"""The image that one looks at: base model and fine-tuned side by side, with prompt, seed and step."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 144  # px an image, so that a sheet of 64 px images can be looked at
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
    lora_scale: float = 1.0,
) -> Image.Image:
    """Pairs in a grid: left as the base model draws it, right as the adapter does, same prompt and noise."""
    tuned_label = "fine-tuned" if lora_scale == 1 else f"fine-tuned at {lora_scale:g}"
    return variants_sheet([base, tuned], ["base", tuned_label], labels, seeds, title, columns)


def variants_sheet(
    variants: Sequence[Sequence[Image.Image]],
    names: Sequence[str],
    labels: Sequence[str],
    seeds: Sequence[int],
    title: str,
    columns: int = 4,
    cell: int = CELL,
) -> Image.Image:
    """Groups in a grid: in each, one image of every variant side by side, their names above, label and seed below.

    variants: for each name the images in the order of the labels. cell: px that an image gets.
    """
    columns = min(columns, len(labels))
    rows = -(-len(labels) // columns)
    group, line, head = len(names) * (cell + 4) - 4, 17, 18 if any(names) else 0
    tall = head + cell + 2 * line + 6
    width = GAP + columns * (group + GAP)
    sheet = Image.new("RGB", (width, 40 + rows * (tall + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), wrap(title, width - 2 * GAP, 17, 1)[0], INK, font(17))
    for i, (images, label, seed) in enumerate(zip(zip(*variants, strict=True), labels, seeds, strict=True)):
        x, y = GAP + i % columns * (group + GAP), 40 + i // columns * (tall + GAP)
        for n, (image, name) in enumerate(zip(images, names, strict=True)):
            left = x + n * (cell + 4)
            if name:
                draw.text((left, y), wrap(name, cell, 13, 1)[0], PALE, font(13))
            sheet.paste(enlarge(image, cell), (left, y + head))
        text = [*wrap(label, group, 13, 1), f"seed {seed}"]
        for n, words in enumerate(text):
            draw.text((x, y + head + 2 + cell + n * line), words, PALE if n else INK, font(13))
    return sheet


def enlarge(image: Image.Image, cell: int = CELL) -> Image.Image:
    """Return the image as large as fits a square of so many px, in its middle; transparency shows a checkerboard."""
    scale = cell / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    corner = (cell - size[0]) // 2, (cell - size[1]) // 2
    if image.mode == "RGBA":
        square, scaled = checkerboard(cell), image.resize(size, Image.Resampling.LANCZOS)
        square.paste(scaled, corner, scaled.getchannel("A"))
    else:
        square = Image.new("RGB", (cell, cell), PAPER)
        square.paste(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), corner)
    return square


def checkerboard(side: int, tile: int = 9) -> Image.Image:
    """Return what is shown under transparency."""
    board = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(board)
    for y in range(0, side, tile):
        for x in range(y // tile % 2 * tile, side, 2 * tile):
            draw.rectangle((x, y, x + tile - 1, y + tile - 1), "#e3e6e8")
    return board


def image_sheet(images: Sequence[Image.Image], labels: Sequence[str], columns: int = 6) -> Image.Image:
    """Return images in a grid, each with its label."""
    rows, tall = -(-len(images) // columns), CELL + 22
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), GAP + rows * (tall + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = GAP + i % columns * (CELL + GAP), GAP + i // columns * (tall + GAP)
        sheet.paste(enlarge(image), (x, y))
        draw.text((x, y + CELL + 3), wrap(label, CELL, 13, 1)[0], INK, font(13))
    return sheet
