"""PNG bytes below a limit."""

from __future__ import annotations

import io

from PIL import Image

from emote.util.errors import ConfigError

PALETTES = (256, 128, 64, 32, 16)  # colours, each with its transparency; fewer look bad


def encode(image: Image.Image, limit_bytes: int) -> bytes:
    """Return an RGBA image as a PNG of fewer bytes than the limit: in true colour, or in as many colours as fit.

    Raises ConfigError that says by how much it is too large.
    """
    data = png_bytes(image)
    for colours in PALETTES:
        if len(data) < limit_bytes:
            return data
        data = png_bytes(image.quantize(colours, Image.Quantize.FASTOCTREE))  # the one that keeps transparency
    if len(data) < limit_bytes:
        return data
    raise ConfigError(
        f"{image.width}×{image.height} pixels in {PALETTES[-1]} colours take {len(data):,} bytes, which is "
        f"{len(data) - limit_bytes + 1:,} too many: it must be below {limit_bytes:,}"
    )


def png_bytes(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
