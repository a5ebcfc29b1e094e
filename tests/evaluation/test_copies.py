from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from emote.evaluation.copies import as_pixels, beyond_null, closest_pairs, distances, nearest_ratio
from tests.evaluation.drawings import blobs


def test_a_copy_is_at_0_and_a_copy_moved_by_two_pixels_nearly() -> None:
    images = blobs(6, side_px=128)
    moved = [ImageChops.offset(image, 2, -2) for image in images]
    training = as_pixels(images)
    apart = distances(training, training)
    assert np.abs(np.diag(apart)).max() < 1e-3
    shifted = distances(as_pixels(moved), training)
    assert shifted.argmin(1).tolist() == list(range(6))
    assert np.diag(shifted).max() < 0.1 * apart[~np.eye(6, dtype=bool)].min()


def test_beyond_the_null_is_what_is_nearer_than_its_first_percent() -> None:
    null = np.linspace(0.1, 0.3, 101)
    assert beyond_null(np.array([0.05, 0.2, 0.1021]), null).tolist() == [1, 0, 0]


def test_of_honest_images_one_in_a_hundred_is_beyond() -> None:
    random = np.random.default_rng(0)
    null, images = random.normal(size=100_000), random.normal(size=100_000)
    assert abs(beyond_null(images, null).mean() - 0.01) < 0.002


def test_the_ratio_is_to_another_concept_than_the_nearest_ones() -> None:
    line = np.array([[0.1, 0.12, 0.4]])
    assert nearest_ratio(line, ["cat", "cat", "dog"]).tolist() == [0.25]


def test_the_closest_pairs_come_first() -> None:
    found = closest_pairs(np.array([[0.5, 0.2], [0.1, 0.9]]), 5)
    assert [(pair.image, pair.training) for pair in found] == [(1, 0), (0, 1)]


def test_pixels_are_made_as_large_as_is_compared() -> None:
    assert as_pixels([Image.new("RGB", (128, 128), "red")]).shape == (1, 3, 64, 64)
