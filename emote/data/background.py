"""The plain colour under a transparent image: which ones an image gets, and what its caption calls them."""

from __future__ import annotations

import hashlib
import math

from PIL import ImageColor

from emote.config import RANDOM_BACKGROUND

WHITE = "white"
COLOURS = 4  # of each image, where the background is random

# Colours that drawings rarely have at their rims, so that a figure stands out from each and can be cut out again: of
# 400 drawings each of OpenMoji and Twemoji, at most 1.4 % of the rims come near one (grey 14 %, orange 15 %,
# black 31 %). Another palette trains differently: raise FORMAT in `emote.runs.identity` with it.
PALETTE = ("green", "cyan", "blue", "purple", "magenta")


def is_white(background: str) -> bool:
    """Return whether `data.background` is white under any of its names."""
    return background != RANDOM_BACKGROUND and _rgb(background) == (255, 255, 255)


def colour_count(background: str) -> int:
    """Over how many colours each image is cached."""
    return COLOURS if background == RANDOM_BACKGROUND else 1


def pixels_of(background: str) -> object:
    """Return what makes its pixels, as JSON values: white and #ffffff are the same."""
    if background != RANDOM_BACKGROUND:
        return _rgb(background)
    return {"colours": COLOURS, "palette": {name: _rgb(name) for name in PALETTE}}


def colours_of(background: str, content: str, transparent: bool) -> tuple[str, ...]:
    """Return the CSS colours, one a variant, under the image with this content hash.

    `random` gives white first, for validation is on the first variant and so compares with a run over white; then
    others of PALETTE, chosen by the hash. Where nothing shows through, padding stays white in all variants.
    """
    if background != RANDOM_BACKGROUND:
        return (background,)
    if not transparent:
        return (WHITE,) * COLOURS
    others = sorted(PALETTE, key=lambda name: hashlib.sha256(f"{content}:{name}".encode()).digest())
    return (WHITE, *others[: COLOURS - 1])


def colour_name(colour: str) -> str:
    """Return what captions call a CSS colour: its name as it was typed, or for #rrggbb the nearest name."""
    if colour.lower() in ImageColor.colormap:
        return colour.lower()
    wanted = _rgb(colour)
    # those of the palette first: cyan and magenta have second names
    return min((*PALETTE, *ImageColor.colormap), key=lambda name: math.dist(wanted, _rgb(name)))


def caption_over(caption: str, colour: str, template: str) -> str:
    """Return the caption, followed by `template` with `{colour}` ("green") and `{a_colour}` ("a green").

    White is not mentioned: it is what a prompt without a background then means, as in a run over white.
    """
    name = colour_name(colour)
    if name == WHITE:
        return caption
    return caption + template.format(colour=name, a_colour=f"{'an' if name[0] in 'aeiou' else 'a'} {name}")


def _rgb(colour: str) -> tuple[int, ...]:
    return ImageColor.getrgb(colour)[:3]
