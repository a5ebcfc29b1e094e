from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emote.training.preflight.ledger import BACKWARD, FORWARD, Ledger


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_a_product_and_its_way_back_are_counted() -> None:
    with torch.device("meta"):
        layer = nn.Linear(32, 64, bias=False)
    x = meta(8, 32).requires_grad_()
    with Ledger([*layer.parameters(), x]) as ledger:
        layer(x).sum().backward()
    assert ledger.flops == 3 * 2 * 8 * 32 * 64  # forward, and back to the weights and to the input


def test_what_is_frozen_is_not_computed() -> None:
    with torch.device("meta"):
        layer = nn.Linear(32, 64, bias=False).requires_grad_(False)
    x = meta(8, 32).requires_grad_()
    with Ledger([*layer.parameters(), x]) as ledger:
        layer(x).sum().backward()
    assert ledger.flops == 2 * 2 * 8 * 32 * 64


def test_the_peak_is_of_what_is_alive_at_once() -> None:
    x = meta(1000)
    with Ledger([x]) as ledger:
        for _ in range(5):
            y = x * 2
            z = y + 1  # y and z, whatever came before
            del y, z
    assert (ledger.peak_bytes, ledger.live_bytes) == (8000, 0)


def test_activations_that_wait_for_the_way_back_are_alive() -> None:
    x = meta(1000).requires_grad_()
    with Ledger([x]) as ledger:
        y = x
        for _ in range(5):
            y = y.sin()
        kept = ledger.live_bytes
        with torch.no_grad():
            z = x
            for _ in range(5):
                z = z.sin()
    assert kept == 5 * 4000
    assert ledger.live_bytes == kept + 4000


def test_views_and_what_is_known_cost_nothing() -> None:
    x = meta(1000)
    with Ledger([x]) as ledger:
        x.view(10, 100).t().detach().unsqueeze(0)
    assert (ledger.peak_bytes, ledger.operations.total()) == (0, 0)


def test_attention_keeps_no_matrix_of_all_pairs_and_costs_what_a_fused_kernel_does() -> None:
    query = meta(2, 4, 100, 16).requires_grad_()
    pairs = 2 * 4 * 100 * 100
    with Ledger([query]) as ledger:
        out = F.scaled_dot_product_attention(query, query, query)
        assert ledger.flops == 2 * 2 * pairs * 16
        assert ledger.live_bytes == 4 * (2 * 4 * 100 * 16 + 2 * 4 * 100) < 4 * pairs
        out.sum().backward()
    assert ledger.flops == (2 + 5) * 2 * pairs * 16
    assert {o.function for o in ledger.operations} >= {FORWARD, BACKWARD}


def test_afterwards_attention_is_what_it_was() -> None:
    before = F.scaled_dot_product_attention
    with pytest.raises(ValueError), Ledger():
        raise ValueError
    assert F.scaled_dot_product_attention is before
    assert torch.isfinite(F.scaled_dot_product_attention(*(torch.ones(1, 1, 2, 2) for _ in range(3)))).all()
