"""The contact sheet: every emoji of a pack as chats show it, on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from emote.imaging.fitting import fit
from emote.imaging.sheet import GAP, INK, PALE, PAPER, font, wrap

SIZES_PX = (128, 64, 32, 20)
GROUNDS = ("#ffffff", "#1a1d21")  # Slack's two
COLUMNS = 2
PAD = 10
PANEL_PX = sum(SIZES_PX) + PAD * (len(SIZES_PX) + 1), SIZES_PX[0] + 2 * PAD
CELL_PX = 2 * PANEL_PX[0], PANEL_PX[1] + 24
HEAD_PX = 40


def contact_sheet(images: Sequence[Image.Image], names: Sequence[str], title: str) -> Image.Image:
    """RGBA images, each on both backgrounds at 128, 64, 32 and 20 px, with its name."""
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (GAP + columns * (CELL_PX[0] + GAP), HEAD_PX + rows * (CELL_PX[1] + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), wrap(title, sheet.width - 2 * GAP, 17, 1)[0], INK, font(17))
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        x, y = GAP + i % columns * (CELL_PX[0] + GAP), HEAD_PX + i // columns * (CELL_PX[1] + GAP)
        for n, ground in enumerate(GROUNDS):
            sheet.paste(_panel(image, ground), (x + n * PANEL_PX[0], y))
        draw.rectangle((x, y, x + CELL_PX[0] - 1, y + PANEL_PX[1] - 1), outline="#d8dee4")
        draw.text((x, y + PANEL_PX[1] + 3), f":{name}:", PALE, font(13))
    return sheet


def _panel(image: Image.Image, ground: str) -> Image.Image:
    panel, x = Image.new("RGB", PANEL_PX, ground), PAD
    for side in SIZES_PX:
        small = fit(image, side, is_square=True)
        panel.paste(small, (x, (PANEL_PX[1] - side) // 2), small)
        x += side + PAD
    return panel
