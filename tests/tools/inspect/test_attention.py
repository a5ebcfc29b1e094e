"""Looking at cross-attention shows what it computes and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emote.tools.inspect.attention import AttentionMaps, recorded
from emote.tools.inspect.parts import Parts
from tests.conftest import TINY_TOKENS


@pytest.fixture(scope="module")
def parts(tiny_sd: Path) -> Parts:
    return Parts(str(tiny_sd), device="cpu")


def ask(parts: Parts) -> torch.Tensor:
    noisy = torch.randn(2, *parts.latent_shape, generator=torch.Generator().manual_seed(3))
    return parts.predict(noisy, 500, parts.encoder(["", "a cat"]))


def test_recording_changes_no_bit_and_leaves_nothing_behind(parts: Parts) -> None:
    before, processors = ask(parts), parts.unet.attn_processors
    with recorded(parts.unet) as maps:
        during = ask(parts)
    assert torch.equal(before, during)
    assert parts.unet.attn_processors == processors
    count = len(maps.calls)
    ask(parts)
    assert len(maps.calls) == count


def test_recording_ends_with_an_error_within(parts: Parts) -> None:
    processors = parts.unet.attn_processors
    with pytest.raises(KeyError), recorded(parts.unet):
        raise KeyError
    assert parts.unet.attn_processors == processors


def test_every_cross_attention_layer_is_recorded_and_no_other(parts: Parts) -> None:
    with recorded(parts.unet) as maps:
        ask(parts)
    layers = [name for name in parts.unet.attn_processors if ".attn2." in name]
    assert len(maps.calls) == len(layers) > 0
    assert all(call.shape[0] == 2 and call.shape[2] == TINY_TOKENS for call in maps.calls)


def test_what_a_place_looks_at_sums_to_one_over_the_tokens(parts: Parts) -> None:
    with recorded(parts.unet) as maps:
        ask(parts)
    map_THW = maps.of_tokens(row=1, size=(8, 8))
    assert map_THW.shape == (TINY_TOKENS, 8, 8)
    assert torch.allclose(map_THW.sum(dim=0), torch.ones(8, 8), atol=1e-5)
    assert not torch.allclose(map_THW, torch.full_like(map_THW, 1 / TINY_TOKENS), atol=1e-6)


def test_a_layer_that_cannot_tell_tokens_apart_looks_at_all_alike(tiny_sd: Path) -> None:
    blind = Parts(str(tiny_sd), device="cpu")
    with torch.no_grad():
        for name, parameter in blind.unet.named_parameters():
            if ".attn2.to_k." in name:
                parameter.zero_()
    with recorded(blind.unet) as maps:
        ask(blind)
    map_THW = maps.of_tokens(row=0, size=(8, 8))
    assert torch.allclose(map_THW, torch.full_like(map_THW, 1 / TINY_TOKENS))


def test_coarser_layers_are_enlarged_and_keep_left_and_right_and_up_and_down() -> None:
    coarse = torch.zeros(1, 4, 2)
    coarse[0, :, 1], coarse[0, 1, :] = 1, torch.tensor([1.0, 0.0])  # of 2 × 2 places the top right looks at token 0
    map_THW = AttentionMaps([coarse]).of_tokens(row=0, size=(8, 8))
    assert map_THW[0, 0, 7] == 1 and map_THW[0, 7, 7] == map_THW[0, 0, 0] == map_THW[0, 7, 0] == 0


def test_without_a_recording_there_is_no_map() -> None:
    with pytest.raises(ValueError, match="no cross-attention was recorded"):
        AttentionMaps().of_tokens(row=0, size=(8, 8))
