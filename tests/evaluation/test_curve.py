from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emote.evaluation.curve import plot_losses

SIZE = (960, 504)
NOISY = [0.2 + 0.1 / (1 + i / 20) + 0.05 * math.sin(i * 7.0) for i in range(300)]


def plot(path: Path, losses: list[float], validation: list[tuple[int, float]], base: float | None) -> Image.Image:
    plot_losses(path, list(range(1, len(losses) + 1)), losses, validation, base, "a run, 300 steps")
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def ink(image: Image.Image, left: float, right: float) -> float:
    """Share of pixels that are not white between two places of the width."""
    pixels = np.asarray(image)[:, int(left * SIZE[0]) : int(right * SIZE[0])]
    return float((pixels < 250).any(axis=-1).mean())


def test_losses_and_held_out_losses_are_drawn_side_by_side(tmp_path: Path) -> None:
    image = plot(tmp_path / "loss.png", NOISY, [(100, 0.25), (200, 0.22), (300, 0.21)], 0.26)
    assert image.size == SIZE
    assert ink(image, 0, 0.5) > 0.02 and ink(image, 0.5, 1) > 0.01


@pytest.mark.parametrize(
    ("losses", "validation", "base"),
    [
        pytest.param(NOISY, [], None, id="no held-out items"),
        pytest.param(NOISY, [], 0.26, id="base model alone"),
        pytest.param([0.3], [], None, id="one step"),
        pytest.param([0.3], [(1, 0.2)], 0.2, id="one step, validated"),
        pytest.param([0.3] * 12, [], None, id="constant"),
        pytest.param([], [], None, id="nothing"),
    ],
)
def test_short_runs_and_runs_without_validation_are_drawn_too(
    tmp_path: Path, losses: list[float], validation: list[tuple[int, float]], base: float | None
) -> None:
    assert plot(tmp_path / "loss.png", losses, validation, base).size == SIZE


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_leaves_the_others_to_be_seen(tmp_path: Path, value: float) -> None:
    image = plot(tmp_path / "loss.png", [*NOISY[:100], value, *NOISY[101:]], [], None)
    assert ink(image, 0, 0.5) > 0.02


def test_losses_that_are_never_finite_do_not_end_a_run(tmp_path: Path) -> None:
    assert plot(tmp_path / "loss.png", [math.nan] * 30, [(30, math.nan)], math.nan).size == SIZE


def test_the_same_losses_are_the_same_image(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot(tmp_path / name, NOISY[:50], [(50, 0.2)], 0.3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
