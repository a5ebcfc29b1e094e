from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from emote.evaluation.images.usable import Usable, look


def drawn(*boxes: tuple[int, int, int, int], background: str = "white") -> Usable:
    image, alpha = Image.new("RGB", (64, 64), background), Image.new("L", (64, 64), 0)
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill="red")
        ImageDraw.Draw(alpha).rectangle(box, fill=255)
    return look(np.asarray(image), np.asarray(alpha))


def test_a_figure_in_the_middle_of_plain_paper_is_usable() -> None:
    found = drawn((16, 16, 48, 48))
    assert found and found.problem == ""


@pytest.mark.parametrize("background", ["white", "#00b140"])
def test_two_parts_that_are_both_large_are_no_islands(background: str) -> None:
    assert drawn((8, 8, 24, 24), (40, 40, 56, 56), background=background)


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        ([(-9, 20, 40, 44)], "the border is not plain, the figure is cut off"),
        ([(16, 16, 48, 48), (60, 4, 61, 5)], "specks stand alone"),
        ([], "nothing is drawn"),
    ],
)
def test_what_is_wrong_is_said(boxes: list[tuple[int, int, int, int]], problem: str) -> None:
    found = drawn(*boxes)
    assert not found and found.problem == problem
