from __future__ import annotations

import numpy as np
import pytest
import torch

from emote.evaluation.images.jackknife import combine
from emote.evaluation.images.mmd import RbfKernel, median_bandwidth, mmd2, polynomial_kernel, share_of_way


def own(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def draw(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, 32))


def test_with_every_image_its_own_concept_it_is_kid_of_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    class Features(torch.nn.Module):
        num_features = 32

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    x, y = draw(0, 1000), draw(1, 1000, 0.1)
    reference = KernelInceptionDistance(Features(), subsets=1, subset_size=1000).double()
    reference.update(torch.from_numpy(x), real=True)
    reference.update(torch.from_numpy(y), real=False)
    expected = float(reference.compute()[0])
    found = mmd2(x, own(1000), y, own(1000, 1000), polynomial_kernel)
    assert found.value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kernel", [polynomial_kernel, RbfKernel(5.0)])
def test_without_a_concept_it_is_what_the_rest_gives(kernel) -> None:  # type: ignore[no-untyped-def]
    x, y = draw(0, 12), draw(1, 10, 0.3)
    x_concepts, y_concepts = [str(i // 2) for i in range(12)], [str(i // 2 + 3) for i in range(10)]
    found = mmd2(x, x_concepts, y, y_concepts, kernel)
    for left_out in sorted({*x_concepts, *y_concepts}):
        rows, columns = [c != left_out for c in x_concepts], [c != left_out for c in y_concepts]
        rest = mmd2(
            x[rows], [c for c in x_concepts if c != left_out], y[columns], [c for c in y_concepts if c != left_out],
            kernel,
        )  # fmt: skip
        assert found.without[left_out] == pytest.approx(rest.value, abs=1e-12)


def test_pairs_of_one_concept_play_no_part() -> None:
    x, y = draw(0, 6), draw(1, 6)
    concepts = own(6)
    kernel = polynomial_kernel
    off = ~np.eye(6, dtype=bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y)[off].mean()
    assert mmd2(x, concepts, y, concepts, kernel).value == pytest.approx(expected)


def test_two_samples_of_one_distribution_are_at_0_on_average() -> None:
    kernel = RbfKernel(8.0)
    values = [mmd2(draw(2 * s, 20), own(20), draw(2 * s + 1, 20), own(20), kernel).value for s in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 200**0.5


def test_a_set_of_one_concept_is_refused() -> None:
    with pytest.raises(ValueError, match="two concepts"):
        mmd2(draw(0, 3), ["cat"] * 3, draw(1, 3), own(3), polynomial_kernel)


def test_the_share_of_the_way_goes_from_nothing_to_all() -> None:
    real, base = draw(0, 80), draw(1, 80, 1.0)
    kernel = RbfKernel(median_bandwidth(real))
    far = mmd2(base, own(80), real, own(80), kernel)
    shares = []
    for part in (0.0, 0.5, 1.0):
        there = mmd2(base - part, own(80), real, own(80), kernel)
        shares.append(combine(share_of_way, there, far))
    assert shares[0].value == 0.0 and 0.2 < shares[1].value < 0.9 and abs(shares[2].value - 1) < 0.05
    low, high = shares[2].estimate().interval_95 or (9.0, 9.0)
    assert low <= 1.0 <= high


def test_there_is_no_share_of_a_way_of_no_length() -> None:
    assert np.isnan(share_of_way(0.1, -0.01))
