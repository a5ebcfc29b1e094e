"""Which published adapter is drawn with how: their names are all that tells them."""

from __future__ import annotations

import pytest

from emote.diffusion.few_steps import FewSteps, advice, few_steps_of
from emote.diffusion.samplers import SAMPLERS


@pytest.mark.parametrize(
    ("names", "scheduler", "steps", "guidance", "eta"),
    [
        (("latent-consistency/lcm-lora-sdv1-5", "pytorch_lora_weights.safetensors"), "lcm", 4, 1.0, None),
        (("LCM_LoRA_Weights_SD15",), "lcm", 4, 1.0, None),
        (("ByteDance/Hyper-SD/Hyper-SD15-4steps-lora.safetensors",), "ddim_trailing", 4, 1.0, None),
        (("ByteDance/Hyper-SD/Hyper-SD15-8steps-CFG-lora.safetensors",), "ddim_trailing", 8, 5.0, None),
        (("Hyper-SDXL-12steps-CFG-lora.safetensors",), "ddim_trailing", 12, 5.0, None),
        (("ByteDance/Hyper-SD/Hyper-SD15-1step-lora.safetensors",), "tcd", 1, 1.0, 1.0),
        (("h1t/TCD-SD15-LoRA",), "tcd", 4, 1.0, 0.3),
    ],
)
def test_published_files_are_known_by_their_names(
    names: tuple[str, ...], scheduler: str, steps: int, guidance: float, eta: float | None
) -> None:
    few = few_steps_of(*names)
    assert few is not None and few.scheduler in SAMPLERS
    assert (few.scheduler, few.steps, few.guidance_scale, few.eta) == (scheduler, steps, guidance, eta)
    assert list(advice(few, few.scheduler, few.steps, few.guidance_scale, few.eta)) == []


@pytest.mark.parametrize("name", ["quickstart", "hyper-realistic-4steps", "calcman", "me/fairy-style", "tcdesign"])
def test_others_are_drawn_with_as_ever(name: str) -> None:
    assert few_steps_of(name) is None


def four_steps() -> FewSteps:
    few = few_steps_of("Hyper-SD15-4steps-lora")
    assert few is not None
    return few


def test_what_makes_no_sense_is_advised_against() -> None:
    few = four_steps()
    said = list(advice(few, "ddim_trailing", 25, 1.0, None))
    assert len(said) == 1 and "made for 4 steps, got 25" in said[0] and "set inference_steps=4" in said[0]
    said = list(advice(few, "dpm++", 4, 7.5, None))
    assert "drawn with scheduler=ddim_trailing" in said[0] and "made for no guidance" in said[1]
    assert "eta=0.5 has no place" in next(iter(advice(few, "ddim_trailing", 4, 1.0, 0.5)))
    guided = few_steps_of("Hyper-SD15-8steps-CFG-lora")
    assert "made for guidance 5 to 8" in next(iter(advice(guided, "ddim_trailing", 8, 1.0, None)))
    assert list(advice(None, "dpm++", 25, 7.5, None)) == []
