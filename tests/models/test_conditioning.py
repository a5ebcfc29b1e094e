from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emote.models import components
from emote.models.conditioning import TIME_IDS, is_packed, pack, pooled_width, predict


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_unet_of_one_text_encoder_reads_the_words_alone(tiny_sd: Path, noisy: torch.Tensor) -> None:
    unet, words, times = components.load_unet(tiny_sd), torch.randn(2, 32, 16), torch.tensor([3, 900])
    with torch.no_grad():
        ours, theirs = predict(unet, noisy, times, words, (32, 32)), unet(noisy, times, words).sample
        elsewhere = predict(unet, noisy, times, words, (64, 32))
    assert not is_packed(unet.config)
    assert torch.equal(ours, theirs) and torch.equal(ours, elsewhere)


def test_a_unet_of_xl_is_told_the_pooled_embedding_and_the_size(tiny_sdxl: Path, noisy: torch.Tensor) -> None:
    unet, times = components.load_unet(tiny_sdxl), torch.tensor([3, 900])
    words, pooled = torch.randn(2, 32, 40), torch.randn(2, 24)
    packed = pack(words, pooled)
    sizes = torch.tensor([[48.0, 32.0, 0, 0, 48.0, 32.0]] * 2)
    with torch.no_grad():
        theirs = unet(noisy, times, words, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample
        assert torch.equal(predict(unet, noisy, times, packed, (48, 32)), theirs)
        assert not torch.equal(predict(unet, noisy, times, packed, (32, 32)), theirs)
        assert not torch.equal(predict(unet, noisy, times, pack(words, pooled * 2), (48, 32)), theirs)
    assert is_packed(unet.config) and pooled_width(unet.config) == 24 and sizes.shape[1] == TIME_IDS
    assert not packed[:, -1, 24:].any()
