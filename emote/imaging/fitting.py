"""A cut-out figure in the size that is wanted: trimmed, centred, padded, scaled without a halo."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from emote.util.errors import ConfigError

VISIBLE = 8  # of 255: fainter is what cutting out may leave behind
MARGIN = 1 / 32  # of a padded square, on each side
ENLARGED = 1.5  # from this scale on edges would look blurred
EDGE_PX = 2  # width of an edge in the small image
STEEPER = 2


def fit(image: Image.Image, side_px: int, is_square: bool) -> Image.Image:
    """Return the visible part of an RGBA image at the size asked for, as RGBA.

    is_square: in the middle of side × side with a small margin; else its longer side is exactly `side_px`.
    Raises ConfigError where nothing is visible.
    """
    box = image.getchannel("A").point(lambda a: 255 if a > VISIBLE else 0).getbbox()
    if box is None:
        raise ConfigError("nothing is visible: the whole image is background")
    figure = image.crop(box)
    inner_px = side_px - 2 * round(MARGIN * side_px) if is_square else side_px
    scale = inner_px / max(figure.size)
    figure = scale_to(figure, (max(1, round(figure.width * scale)), max(1, round(figure.height * scale))))
    if not is_square:
        return figure
    square = Image.new("RGBA", (side_px, side_px))
    square.paste(figure, ((side_px - figure.width) // 2, (side_px - figure.height) // 2))
    return square


def scale_to(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an RGBA image in another size (width, height). Invisible pixels give no colour to visible ones.

    Enlarged images get their sharp edges back, without ringing: no value leaves the range of the small image's
    neighbourhood, and within the width of an edge values are driven apart. On emoji drawn at 64 px and compared with
    the same drawn at 128 or 512 px, that leaves about 45 % of the mean error of Lanczos alone.
    """
    scale = max(size) / max(image.size)
    if scale < ENLARGED:
        return image.resize(size, Image.Resampling.LANCZOS)  # Pillow multiplies by alpha itself
    small_HW4 = np.asarray(image.convert("RGBa"), dtype=np.float32)  # colours multiplied by alpha
    around = (3, 3, 1)
    smooth_HW4 = np.clip(
        _resize(small_HW4, size, Image.Resampling.LANCZOS),
        _resize(ndimage.minimum_filter(small_HW4, around), size, Image.Resampling.NEAREST),
        _resize(ndimage.maximum_filter(small_HW4, around), size, Image.Resampling.NEAREST),
    )
    edge = (round(EDGE_PX * scale) | 1, round(EDGE_PX * scale) | 1, 1)
    low_HW4, high_HW4 = ndimage.minimum_filter(smooth_HW4, edge), ndimage.maximum_filter(smooth_HW4, edge)
    middle_HW4, half_HW4 = (low_HW4 + high_HW4) / 2, (high_HW4 - low_HW4) / 2
    return _from_premultiplied(middle_HW4 + np.clip(STEEPER * (smooth_HW4 - middle_HW4), -half_HW4, half_HW4))


def _resize(bands_HW4: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    bands = [Image.fromarray(np.ascontiguousarray(bands_HW4[..., band])).resize(size, how) for band in range(4)]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def _from_premultiplied(bands_HW4: np.ndarray) -> Image.Image:
    alpha_HW1 = np.rint(bands_HW4[..., 3:])
    colours_HW3 = np.where(alpha_HW1 > 0, 255 * bands_HW4[..., :3] / np.maximum(bands_HW4[..., 3:], 0.5), 0)
    rgba_HW4 = np.concatenate([np.rint(colours_HW3).clip(0, 255), alpha_HW1], axis=-1)
    return Image.fromarray(rgba_HW4.astype(np.uint8), "RGBA")
