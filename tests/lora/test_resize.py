from __future__ import annotations

import pytest
import torch

from emote.lora.adapter_file import Adapter, Layer
from emote.lora.base_family import Base
from emote.lora.resize import cast, cost, norm, reduce_rank
from emote.util.errors import ConfigError


def random_layer(rank: int, out: int, *inside: int, alpha: float = 2.0, seed: int = 0) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    kernel = (1,) * (len(inside) - 1)
    return Layer(
        torch.randn(rank, *inside, generator=generator), torch.randn(out, rank, *kernel, generator=generator), alpha
    )


def adapter(**layers: Layer) -> Adapter:
    return Adapter(layers, Base.unknown, metadata={"ss_network_dim": "6", "ss_steps": "10"})


def change(layer: Layer) -> torch.Tensor:
    """ΔW as a matrix, in float64."""
    return layer.scale * layer.up.flatten(1).double() @ layer.down.flatten(1).double()


BOTH = adapter(linear=random_layer(6, 20, 12), conv=random_layer(6, 10, 4, 3, 3, alpha=9.0, seed=1))


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_reduced_layer_is_the_best_approximation_of_that_rank(rank: int) -> None:
    reduced = reduce_rank(BOTH, rank)
    for name, layer in reduced.layers.items():
        before = change(BOTH.layers[name])
        assert layer.rank == rank and layer.alpha == rank
        assert layer.down.shape[1:] == BOTH.layers[name].down.shape[1:]
        best = torch.linalg.svdvals(before)[rank:].norm()
        assert torch.linalg.norm(change(layer) - before) == pytest.approx(float(best), rel=1e-5)
    assert reduced.metadata == {"ss_steps": "10"}  # kohya's text on the rank is not true any more


def test_nothing_is_lost_down_to_the_true_rank() -> None:
    narrow = random_layer(2, 20, 12)
    wide = Layer(
        torch.cat([narrow.down, narrow.down * 3, torch.zeros(2, 12)]),
        torch.cat([narrow.up, -narrow.up, torch.ones(20, 2)], dim=1),
        3.0,
    )
    before = adapter(layer=wide)
    assert cost(before, reduce_rank(before, 2)).overall < 1e-6
    assert cost(before, reduce_rank(before, 1)).overall > 0.1


def test_a_layer_of_no_larger_rank_stays_bit_for_bit() -> None:
    mixed = adapter(small=random_layer(2, 8, 8, alpha=0.5), large=random_layer(6, 8, 8))
    reduced = reduce_rank(mixed, 2)
    assert reduced.layers["small"] is mixed.layers["small"]
    assert reduced.layers["large"].rank == 2


def test_the_cost_is_that_of_the_whole_matrices() -> None:
    reduced = reduce_rank(BOTH, 2)
    lost = {
        name: torch.linalg.norm(change(reduced.layers[name]) - change(layer)) for name, layer in BOTH.layers.items()
    }
    whole = {name: torch.linalg.norm(change(layer)) for name, layer in BOTH.layers.items()}
    found = cost(BOTH, reduced)
    assert found.overall == pytest.approx(
        float(sum(x**2 for x in lost.values()) / sum(x**2 for x in whole.values())) ** 0.5
    )
    shares = {name: float(lost[name] / whole[name]) for name in lost}
    assert (found.worst, found.worst_layer) == (
        pytest.approx(max(shares.values())),
        max(shares, key=lambda n: shares[n]),
    )
    assert cost(BOTH, BOTH).overall == 0.0
    assert norm([BOTH.layers["conv"]]) == pytest.approx(float(whole["conv"]))


def test_an_adapter_that_changes_nothing_has_lost_nothing() -> None:
    zero = adapter(layer=Layer(torch.randn(4, 8), torch.zeros(8, 4), 4.0))
    reduced = reduce_rank(zero, 2)
    assert cost(zero, reduced).overall == 0.0
    assert torch.equal(reduced.layers["layer"].up, torch.zeros(8, 2))


def test_half_precision_costs_what_its_digits_are() -> None:
    assert 1e-5 < cost(BOTH, cast(BOTH, torch.float16)).overall < 1e-3
    assert 1e-4 < cost(BOTH, cast(BOTH, torch.bfloat16)).overall < 1e-2
    assert cast(BOTH, torch.bfloat16).layers["conv"].alpha == 9.0


def test_numbers_that_a_dtype_cannot_hold_are_refused() -> None:
    large = adapter(layer=Layer(torch.full((1, 2), 1e5), torch.ones(2, 1), 1.0))
    with pytest.raises(ConfigError, match="float16 cannot hold the numbers of layer"):
        cast(large, torch.float16)
