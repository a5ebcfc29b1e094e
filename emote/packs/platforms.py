"""What chat platforms take as custom emoji and stickers.

Slack: help page "Add custom emoji", reference of admin.emoji.add (square, under 128 KB, lower-case names). Discord:
emoji at 128×128, at most 256 KB, names of 2 to 32 letters, digits and underscores. Telegram: core.telegram.org/stickers
(PNG or WebP, one side exactly 512, the other at most 512; emoji 100×100) and the Bot API (at most 512 KB; at most 120
stickers or 200 emoji a set). Where a KB could be 1,000 or 1,024 bytes, it is 1,000 here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Platform(Enum):
    slack = "slack"
    discord = "discord"
    telegram = "telegram"


@dataclass(frozen=True)
class Kind:
    """One kind of image of a platform: PNG with transparency, in its own folder of the pack.

    is_square: padded to side × side; else the longer side is exactly `side_px` and nothing is added.
    limit_bytes: a file must be smaller. most: so many in one set; None where that depends on the server.
    """

    folder: str
    side_px: int
    is_square: bool
    limit_bytes: int
    most: int | None = None


KINDS: dict[Platform, tuple[Kind, ...]] = {
    Platform.slack: (Kind("emoji", 128, True, 128_000),),
    Platform.discord: (Kind("emoji", 128, True, 256_000),),
    Platform.telegram: (
        Kind("stickers", 512, False, 512_000, most=120),
        Kind("emoji", 100, True, 512_000, most=200),
    ),
}
