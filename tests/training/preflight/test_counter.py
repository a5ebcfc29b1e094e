from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from emote.training.preflight.counter import Counter, FusedAttention


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_a_product_and_its_way_back_are_counted() -> None:
    with torch.device("meta"):
        layer = nn.Linear(32, 64, bias=False)
    x = meta(8, 32).requires_grad_()
    with Counter([*layer.parameters(), x]) as counter:
        layer(x).sum().backward()
    assert counter.flops == 3 * 2 * 8 * 32 * 64  # forward, and back to the weights and to the input


def test_what_is_frozen_is_not_computed() -> None:
    with torch.device("meta"):
        layer = nn.Linear(32, 64, bias=False).requires_grad_(False)
    x = meta(8, 32).requires_grad_()
    with Counter([*layer.parameters(), x]) as counter:
        layer(x).sum().backward()
    assert counter.flops == 2 * 2 * 8 * 32 * 64


def test_the_peak_is_of_what_is_alive_at_once() -> None:
    x = meta(1000)
    with Counter([x]) as counter:
        for _ in range(5):
            y = x * 2
            z = y + 1  # y and z, whatever came before
            del y, z
    assert (counter.peak_bytes, counter.live_bytes) == (8000, 0)


def test_activations_that_wait_for_the_way_back_are_alive() -> None:
    x = meta(1000).requires_grad_()
    with Counter([x]) as counter:
        y = x
        for _ in range(5):
            y = y.sin()
        kept = counter.live_bytes
        with torch.no_grad():
            z = x
            for _ in range(5):
                z = z.sin()
    assert kept == 5 * 4000
    assert counter.live_bytes == kept + 4000


def test_views_and_what_is_known_cost_nothing() -> None:
    x = meta(1000)
    with Counter([x]) as counter:
        x.view(10, 100).t().detach().unsqueeze(0)
    assert (counter.peak_bytes, counter.calls) == (0, 0)


def test_attention_keeps_no_matrix_of_all_pairs_and_costs_what_a_fused_kernel_does() -> None:
    with torch.device("meta"):
        attention = Attention(query_dim=64, heads=4, dim_head=16, bias=False, processor=FusedAttention())
    attention.to_out[0] = nn.Identity()
    rows = meta(2, 100, 64).requires_grad_()
    pairs, projections = 2 * 4 * 100 * 100, 3 * 2 * 200 * 64 * 64
    with Counter([rows, *attention.parameters()]) as counter:
        out = attention(rows)
        assert counter.flops == 2 * 2 * pairs * 16 + projections
        assert counter.live_bytes < 4 * pairs
        out.sum().backward()
    assert counter.flops == (2 + 5) * 2 * pairs * 16 + 3 * projections
