from __future__ import annotations

from collections import Counter

import pytest

from emote.data.order import item_at, key_seed, permutation, variant_at


def test_every_item_comes_once_per_epoch() -> None:
    for epoch in range(3):
        assert sorted(item_at(1, epoch * 17 + place, 17) for place in range(17)) == list(range(17))


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = [tuple(permutation(seed, epoch, 50).tolist()) for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_the_order_does_not_depend_on_what_was_asked_before() -> None:
    forwards = [item_at(5, position, 7) for position in range(40)]
    permutation.cache_clear()
    backwards = [item_at(5, position, 7) for position in reversed(range(40))]
    assert forwards == backwards[::-1]


def test_the_order_is_the_same_on_every_machine() -> None:
    assert key_seed("order", 42, 0) == 2_235_111_310_355_491_316
    assert [item_at(42, position, 8) for position in range(8)] == [4, 1, 5, 7, 3, 2, 6, 0]


def test_keys_that_look_alike_have_different_seeds() -> None:
    keys = [(1, 23), (12, 3), (123,), ("1", 23), ("1", "23"), ("12", "3"), ("a", "b"), ("ab",), ("a:", "b"), (-1,), ()]
    assert len({key_seed(*key) for key in keys}) == len(keys)


def test_seeds_fit_a_signed_64_bit_integer() -> None:
    assert all(0 <= key_seed("x", n) < 2**63 for n in range(1000))


@pytest.mark.parametrize("part", [1.0, None, True, b"x"])
def test_a_seed_of_anything_else_is_refused(part: object) -> None:
    with pytest.raises(TypeError):
        key_seed("x", part)  # type: ignore[arg-type]


def test_variants_are_drawn_about_equally() -> None:
    counts = Counter(variant_at(3, position, 2) for position in range(2000))
    assert set(counts) == {0, 1} and abs(counts[0] - 1000) < 150
    assert {variant_at(3, position, 1) for position in range(10)} == {0}
