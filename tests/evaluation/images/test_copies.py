from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from emote.evaluation.images.copies import (
    SHIFT_PX,
    Nearest,
    _distances,
    as_pixels,
    beyond_null,
    closest_pairs,
    find_nearest,
    much_nearer,
)
from tests.evaluation.images.drawings import blobs


def test_a_copy_is_at_0_and_a_copy_moved_by_two_pixels_nearly() -> None:
    images = blobs(40, side_px=128)
    moved = [ImageChops.offset(image, 2, -2) for image in images]
    training, concepts = as_pixels(images), [str(number) for number in range(40)]
    same = find_nearest(training, training, concepts)
    assert same.training_N.tolist() == list(range(40)) and same.distance_N.max() < 2e-3
    shifted = find_nearest(as_pixels(moved), training, concepts)
    assert shifted.training_N.tolist() == list(range(40))
    assert shifted.distance_N.max() < 0.1 * shifted.next_N.min()


def test_the_nearest_is_that_of_a_search_through_all_at_full_size() -> None:
    training, images = as_pixels(blobs(60, seed=1)), as_pixels(blobs(12, seed=2))
    concepts = [str(number // 2) for number in range(60)]
    found, everything = find_nearest(images, training, concepts), _distances(images, training, SHIFT_PX)
    assert (found.distance_N <= everything.min(1) * 1.02 + 1e-6).all()
    assert (found.training_N == everything.argmin(1)).mean() >= 0.9


def test_the_images_of_a_concept_can_be_left_out() -> None:
    training = as_pixels(blobs(6))
    found = find_nearest(training, training, list("aabbcc"), not_of=list("aabbcc"))
    assert all(found.training_N[row] // 2 != row // 2 for row in range(6)) and found.distance_N.min() > 0.01


def test_without_any_other_image_nothing_is_near() -> None:
    training = as_pixels(blobs(1))
    assert find_nearest(training, training, ["a"], not_of=["a"]).distance_N.tolist() == [np.inf]


def test_beyond_the_null_is_what_is_nearer_than_its_first_percent() -> None:
    null = np.linspace(0.1, 0.3, 101)
    assert beyond_null(np.array([0.05, 0.2, 0.1021]), null).tolist() == [1, 0, 0]


def test_of_honest_images_one_in_a_hundred_is_beyond() -> None:
    random = np.random.default_rng(0)
    null, images = random.normal(size=100_000), random.normal(size=100_000)
    assert abs(beyond_null(images, null).mean() - 0.01) < 0.002


def test_a_copy_is_much_nearer_than_the_next_concept() -> None:
    found = Nearest(np.array([0, 0, 0, 0]), np.array([0.1, 0.2, 0.1, 0.0]), np.array([0.4, 0.3, np.inf, 0.0]))
    assert much_nearer(found).tolist() == [1, 0, 0, 0]


def test_the_closest_pairs_come_first() -> None:
    found = closest_pairs(Nearest(np.array([1, 0]), np.array([0.2, 0.1]), np.array([0.5, 0.9])), 5)
    assert [(pair.image, pair.training) for pair in found] == [(1, 0), (0, 1)]


def test_pixels_are_made_as_large_as_is_compared() -> None:
    assert as_pixels([Image.new("RGB", (128, 128), "red")]).shape == (1, 3, 64, 64)
