from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFilter

from emote.evaluation.images.mmd import RbfKernel, median_bandwidth, mmd2, polynomial_kernel
from emote.evaluation.images.style import StyleSpace, style_features
from tests.evaluation.images.drawings import blobs


def own(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("which", ["polynomial", "rbf"])
@pytest.mark.parametrize("other", ["outlined", "blurred"])
def test_styles_are_told_apart_and_one_style_is_not(which: str, other: str) -> None:
    space = StyleSpace.of(style_features(blobs(60, seed=1)))
    real, same = (space(style_features(blobs(40, seed=seed))) for seed in (2, 3))
    drawn = blobs(40, seed=4, outline=other == "outlined")
    if other == "blurred":
        drawn = [image.filter(ImageFilter.GaussianBlur(2)) for image in drawn]
    different = space(style_features(drawn))
    kernel = polynomial_kernel if which == "polynomial" else RbfKernel(median_bandwidth(real))
    apart = mmd2(different, own(40), real, own(40), kernel).estimate()
    together = mmd2(same, own(40), real, own(40), kernel).estimate()
    assert apart.differs_from_zero and apart.value > 0
    assert not together.differs_from_zero and apart.value > 5 * abs(together.value)


def test_features_are_the_same_alone_and_among_others() -> None:
    images = blobs(5)
    together = style_features(images)
    assert np.allclose(style_features(images[3:4])[0], together[3], atol=1e-6)


def test_a_space_from_few_images_keeps_what_they_do_not_vary_in() -> None:
    features = style_features(blobs(12))
    space = StyleSpace.of(features[:4])
    rows = space(features)
    assert np.allclose(np.linalg.norm(rows, axis=1), features.shape[1] ** 0.5)
    assert np.isfinite(rows).all() and np.linalg.matrix_rank(rows) == 11  # four, centred, span three
