"""Can a pack take it? Plain border, a figure that is not cut off, and no islands in its alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_COLOUR = 24  # of 255: largest difference of a channel that still counts as the background's
PLAIN_BORDER_SHARE = 0.98  # of the border's pixels
OPAQUE = 128  # of 255
SMALLEST_FIGURE = 0.02  # of the image
ISLAND_SHARE = 0.002  # of the image: what is smaller, and stands alone, nobody drew
CUT_SHARE = 0.02  # of the border's pixels that the figure may touch


@dataclass(frozen=True)
class Usable:
    """What was found of one image; it is usable where all is well."""

    plain_border: bool
    whole: bool
    no_islands: bool
    has_figure: bool

    def __bool__(self) -> bool:
        return self.plain_border and self.whole and self.no_islands and self.has_figure

    @property
    def problem(self) -> str:
        """In words; "" where all is well."""
        wrong = [
            (self.has_figure, "nothing is drawn"),
            (self.plain_border, "the border is not plain"),
            (self.whole, "the figure is cut off"),
            (self.no_islands, "specks stand alone"),
        ]
        return ", ".join(text for well, text in wrong if not well)


def look(rgb_HW3: np.ndarray, alpha_HW: np.ndarray) -> Usable:
    """What a pack would trip over. rgb_HW3: uint8, as drawn; alpha_HW: uint8, after cutting out."""
    from scipy import ndimage  # late: it takes a while

    border_N3 = _border(np.asarray(rgb_HW3)).astype(np.int16)
    colour_3 = np.median(border_N3, axis=0)
    plain = (np.abs(border_N3 - colour_3).max(1) <= SAME_COLOUR).mean() >= PLAIN_BORDER_SHARE
    solid_HW = np.asarray(alpha_HW) >= OPAQUE
    labels_HW, count = ndimage.label(solid_HW, np.ones((3, 3)))
    sizes = np.bincount(labels_HW.ravel(), minlength=count + 1)[1:]
    return Usable(
        plain_border=bool(plain),
        whole=bool(_border(solid_HW[..., None]).mean() <= CUT_SHARE),
        no_islands=bool((sizes >= ISLAND_SHARE * solid_HW.size).all()),
        has_figure=bool(solid_HW.mean() >= SMALLEST_FIGURE),
    )


def _border(plane_HWC: np.ndarray) -> np.ndarray:
    """[N, C]: the outermost pixels."""
    return np.concatenate([plane_HWC[0], plane_HWC[-1], plane_HWC[1:-1, 0], plane_HWC[1:-1, -1]])
