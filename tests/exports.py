"""Sets as people have them on disk: exports of chats, a kohya folder, plain names. Nothing else is written for them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

NAMES = ("party_cat", "sad_dog", "happy_frog", "cool_fox", "rocket", "pizza", "ghost", "crying_bear", "robot", "star")
EMOJI = ("\U0001f600", "\U0001f62d", "\U0001f438", "\U0001f98a", "\U0001f680", "\U0001f355", "\U0001f47b", "\U0001f43b",
         "\U0001f916", "\u2b50")  # fmt: skip


def drawing(number: int, side: int = 96) -> Image.Image:
    """Four coloured discs on transparency, a function of `number`."""
    chosen = random.Random(number)
    image = Image.new("RGBA", (2 * side, 2 * side))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, wide = (int(2 * side * share) for share in (chosen.random() * 0.6, chosen.random() * 0.6, 0.35))
        draw.ellipse((x, y, x + wide, y + wide), fill=(*(chosen.randrange(256) for _ in range(3)), 255))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def slack(root: Path) -> None:
    emoji = {name: f"https://emoji.slack-edge.com/T0/{name}/{n}.png" for n, name in enumerate(NAMES)}
    (root / "emoji.json").write_text(json.dumps({"ok": True, "emoji": {**emoji, "parrot_cat": "alias:party_cat"}}))
    for number, name in enumerate(NAMES):
        drawing(number).save(root / f"{name}.png")


def discord(root: Path) -> None:
    emoji = [{"id": str(900000000000000000 + n), "name": name, "animated": False} for n, name in enumerate(NAMES)]
    (root / "emojis.json").write_text(json.dumps(emoji))
    for number, entry in enumerate(emoji):
        drawing(number).save(root / f"{entry['id']}.png")


def telegram(root: Path) -> None:
    stickers = [{"file_id": f"CAAC{n}", "emoji": emoji} for n, emoji in enumerate(EMOJI)]
    (root / "set.json").write_text(json.dumps({"name": "us", "stickers": stickers}))
    for number in range(len(EMOJI)):
        drawing(number).save(root / f"sticker_{number}.webp", lossless=True)


def kohya(root: Path) -> None:
    for number, name in enumerate(NAMES):
        folder = root / ("5_grumpy cat" if number < 3 else "1_happy dog")
        folder.mkdir(exist_ok=True)
        drawing(number).save(folder / f"{number:03}.png")
        if number > 5:
            (folder / f"{number:03}.caption").write_text(f"happy dog, {name.replace('_', ' ')}")


def names(root: Path) -> None:
    for number, name in enumerate(NAMES):
        drawing(number).save(root / f"{name}.png")


EXPORTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "slack": (slack, "parrot cat"),
    "discord": (discord, "party cat"),
    "telegram": (telegram, "rocket"),
    "kohya": (kohya, "happy dog, crying bear"),
    "names": (names, "party cat"),
}
"""What makes each, and a caption that it must have."""
