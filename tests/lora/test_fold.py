from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emote.lora.adapter import adapter_scaled, attach, without_adapter
from emote.lora.fold import Folding
from tests.models.helpers import answer, fresh_unet, learn, lora_config


@pytest.mark.parametrize("variant", ["lora", "dora", "rslora"])
def test_folded_in_it_draws_the_same_and_comes_out_with_every_bit(tiny_sd: Path, variant: str) -> None:
    unet, folding = fresh_unet(tiny_sd), Folding()
    attach(unet, lora_config(targets="attention_ff", variant=variant))
    learn(unet)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    with adapter_scaled(unet, 0.6):
        beside = answer(unet)
    with without_adapter(unet):
        base = answer(unet)
    folding.fold([unet], 0.6)
    folded = answer(unet)
    assert (folded - beside).norm() <= 1e-5 * beside.norm()
    assert (beside - base).norm() > 0.01 * base.norm()
    folding.fold([unet], 1.3)
    folding.fold([unet], 0.6)
    assert torch.equal(answer(unet), folded)  # whatever was folded in before
    folding.take_out()
    after = unet.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    with without_adapter(unet):
        assert torch.equal(answer(unet), base)
    with adapter_scaled(unet, 0.6):
        assert torch.equal(answer(unet), beside)
