from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from emote.config import Precision
from emote.diffusion.samplers import SAMPLERS
from emote.inference.image_generator import Cancelled, ImageGenerator
from emote.inference.png_metadata import read_parameters
from emote.inference.resolve_adapter import Adapter, find_adapter
from emote.models.presets import model_named
from emote.util.errors import ConfigError
from tests.inference.conftest import NAME, request
from tests.models.helpers import fresh_unet

SEEDS = (1, 2, 3, 4, 5)


def apart(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of a pixel, of 255."""
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second)).max())


def same(first: list[Image.Image], second: list[Image.Image]) -> bool:
    return [image.tobytes() for image in first] == [image.tobytes() for image in second]


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_image_is_the_same_again_and_almost_the_same_in_any_batch(
    image_generator: ImageGenerator, adapter: Adapter, scheduler: str
) -> None:
    image_generator.use(adapter)
    requests = [request(seed=seed, scheduler=scheduler) for seed in SEEDS]
    alone, together = image_generator.draw(requests, batch=1), image_generator.draw(requests, batch=4)
    assert same(image_generator.draw(requests, batch=4), together)
    assert max(apart(a, b) for a, b in zip(alone, together, strict=True)) <= 2


def test_on_a_cpu_bits_do_not_depend_on_what_else_is_asked_for(
    image_generator: ImageGenerator, adapter: Adapter
) -> None:
    image_generator.use(adapter)
    many = image_generator.draw([request(seed=seed, prompt=f"cat {seed}") for seed in SEEDS])
    torch.manual_seed(1234)
    (alone,) = image_generator.draw([request(seed=SEEDS[3], prompt=f"cat {SEEDS[3]}")])
    assert same([alone], [many[3]])


def test_what_else_is_in_a_batch_changes_no_bit(image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    others = [request(seed=seed, prompt=f"cat {seed}", negative_prompt="dog" * (seed % 2)) for seed in SEEDS[:4]]
    mixed = image_generator.draw(others, batch=4)
    assert same([image_generator.draw([others[2]] * 4, batch=4)[2]], [mixed[2]])


def test_requests_of_different_settings_may_be_mixed(image_generator: ImageGenerator, adapter: Adapter) -> None:
    image_generator.use(adapter)
    requests = [
        request(seed=1),
        request(seed=2, scheduler="euler_a"),
        request(seed=3, width=48, height=20),
        request(seed=4, lora_scale=0.0),
        request(seed=5, guidance_scale=1.0),
        request(seed=6, inference_steps=2),
        request(seed=7),
    ]
    images = image_generator.draw(requests, batch=4)
    assert [image.size for image in images] == [(r.width, r.height) for r in requests]
    for wanted, image in zip(requests, images, strict=True):
        assert apart(image_generator.draw([wanted])[0], image) <= 2


def test_the_adapter_is_that_of_diffusers_at_every_scale(
    image_generator: ImageGenerator, adapter: Adapter, tiny_sd: Path
) -> None:
    stock = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    stock.load_lora_weights(adapter.file.parent, weight_name=adapter.file.name)
    stock.set_progress_bar_config(disable=True)
    image_generator.use(adapter)
    for scale in (0.5, 1.0, -0.3):
        wanted = request(scheduler="pndm", lora_scale=scale)
        theirs = stock(
            wanted.prompt, generator=torch.Generator().manual_seed(wanted.seed), width=32, height=32,
            num_inference_steps=3, cross_attention_kwargs={"scale": scale},
        ).images[0]  # fmt: skip
        assert apart(image_generator.draw([wanted])[0], theirs) <= 1


def test_scale_zero_is_the_base_model_to_the_bit(image_generator: ImageGenerator, adapter: Adapter) -> None:
    image_generator.use(None)
    base = image_generator.draw([request()])
    image_generator.use(adapter)
    assert same(image_generator.draw([request(lora_scale=0.0)]), base)
    assert not same(image_generator.draw([request()]), base)
    image_generator.use(None)
    assert same(image_generator.draw([request()]), base)


def test_scales_leave_no_trace(image_generator: ImageGenerator, adapter: Adapter) -> None:
    image_generator.use(adapter)
    first = image_generator.draw([request()])
    image_generator.draw([request(lora_scale=0.3), request(lora_scale=0.0), request(lora_scale=1e6)])
    assert same(image_generator.draw([request()]), first)


def test_adapters_switch_without_the_base_being_loaded_again(
    image_generator: ImageGenerator, adapter: Adapter, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = find_adapter(f"{NAME}/10", runs)
    monkeypatch.setattr(
        "emote.inference.image_generator.components.load_unet", lambda *_, **__: pytest.fail("loaded again")
    )
    image_generator.use(earlier)
    first = image_generator.draw([request()])
    image_generator.use(adapter)
    second = image_generator.draw([request()])
    assert not same(first, second)
    image_generator.use(earlier)
    assert same(image_generator.draw([request()]), first)


def test_an_adapter_in_use_is_not_loaded_again_unless_its_file_changed(
    image_generator: ImageGenerator, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(runs, tmp_path / "runs")) / NAME / "steps"
    image_generator.use(find_adapter(NAME, tmp_path / "runs"))
    first = image_generator.draw([request()])
    for file in (folder / "000010").glob("*.safetensors"):
        shutil.copy(file, folder / "000020")
    image_generator.use(find_adapter(NAME, tmp_path / "runs"))
    assert not same(image_generator.draw([request()]), first)
    monkeypatch.setattr("emote.inference.image_generator.put_layers", lambda *_: pytest.fail("loaded again"))
    image_generator.use(find_adapter(NAME, tmp_path / "runs"))


def test_an_adapter_of_another_base_is_refused_and_the_base_goes_on(
    image_generator: ImageGenerator, adapter: Adapter
) -> None:
    image_generator.use(None)
    base = image_generator.draw([request()])
    mini = ImageGenerator(model_named("mini"), device="cpu")
    with pytest.raises(ConfigError, match=r"made for another base model.*the base model in use is weights/mini"):
        mini.use(adapter)
    assert mini.adapter is None and len(mini.draw([request(width=8, height=8, inference_steps=1)])) == 1
    broken = replace(adapter, file=adapter.file.with_name("gone.safetensors"), base=adapter.base)
    with pytest.raises((ConfigError, FileNotFoundError)):
        image_generator.use(broken)
    assert same(image_generator.draw([request(lora_scale=0.0)]), base)


def test_one_is_told_how_far_it_is(image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    batches: list[int] = []
    steps: list[tuple[int, int]] = []
    image_generator.draw(
        [request(seed=seed, scheduler=scheduler) for scheduler in ("heun", "dpm++") for seed in (1, 2)],
        batch=2,
        on_batch=batches.append,
        on_step=lambda done, of: steps.append((done, of)),
    )
    assert batches == [2, 4]
    assert {of for _, of in steps} == {6} and [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (6, 6)


def test_cancelling_stops_at_the_next_step(image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    steps: list[int] = []
    with pytest.raises(Cancelled):
        image_generator.draw(
            [request(inference_steps=50)], on_step=lambda done, of: steps.append(done), cancelled=lambda: len(steps) > 2
        )
    assert steps == [1, 2, 3]
    with pytest.raises(Cancelled):
        image_generator.draw([request()], cancelled=lambda: True)
    assert len(image_generator.draw([request()])) == 1


def test_sizes_are_checked_before_anything_is_drawn(image_generator: ImageGenerator) -> None:
    steps: list[int] = []
    with pytest.raises(ConfigError, match="size must be divisible by 4"):
        image_generator.draw([request(), request(width=30)], on_step=lambda done, of: steps.append(done))
    assert steps == []
    assert image_generator.draw([]) == []


def test_a_image_explains_itself(image_generator: ImageGenerator, adapter: Adapter, tiny_sd: Path) -> None:
    image_generator.use(adapter)
    wanted = [request(seed=seed, lora_scale=0.5) for seed in (1, 2)]
    told = [read_parameters(image.info["parameters"]) for image in image_generator.draw(wanted, batch=2)]
    assert [parameters.request for parameters in told] == wanted
    assert (told[0].model, told[0].lora, told[0].run) == (tiny_sd.name, "tiny", f"{NAME}/20")
    assert (told[0].lora_hash, told[0].model_hash) == (adapter.short_hash, image_generator.base.short_hash)
    assert [(parameters.batch_size, parameters.batch_position) for parameters in told] == [(2, 0), (2, 1)]
    (base,) = image_generator.draw([request(lora_scale=0.0)])
    assert read_parameters(base.info["parameters"]).lora == ""


def test_a_image_that_is_no_numbers_is_said(image_generator: ImageGenerator, adapter: Adapter) -> None:
    image_generator.use(adapter)
    (drawn,) = image_generator.draw_each([request(lora_scale=1e30)])
    assert "seed 7 came out as no numbers" in drawn.problem and "lower lora_scale" in drawn.problem
    with pytest.raises(ConfigError, match="seed 7 came out as no numbers"):
        image_generator.draw([request(lora_scale=1e30)])
    assert [drawn.problem for drawn in image_generator.draw_each([request()])] == [""]


def test_words_that_are_not_read_are_told(image_generator: ImageGenerator) -> None:
    room = 30  # the tiny tokenizer has a token a letter
    assert image_generator.cut_words("x" * room) == ""
    assert image_generator.cut_words("x" * room + "yz") == "yz"
    assert image_generator.cut_words("") == ""
    assert image_generator.cut_words("قطة " * 50) != ""
    image_generator.use(None)
    assert same(image_generator.draw([request(prompt="x" * 40)]), image_generator.draw([request(prompt="x" * 50)]))


def test_the_negative_prompt_leads_away_and_only_with_guidance(image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    assert not same(image_generator.draw([request(negative_prompt="dog")]), image_generator.draw([request()]))
    unguided = request(guidance_scale=1.0)
    assert same(image_generator.draw([replace(unguided, negative_prompt="dog")]), image_generator.draw([unguided]))


def test_drawing_changes_no_weights_and_leaves_no_gradients(
    image_generator: ImageGenerator, adapter: Adapter, tiny_sd: Path
) -> None:
    image_generator.use(adapter)
    image_generator.draw([request(), request(lora_scale=0.0)])
    image_generator.use(None)
    fresh = fresh_unet(tiny_sd).state_dict()
    state = image_generator._unet.state_dict()
    assert state.keys() == fresh.keys() and all(torch.equal(state[name], fresh[name]) for name in fresh)
    assert torch.is_grad_enabled() and not any(p.requires_grad for p in image_generator._unet.parameters())


def test_bf16_draws_almost_the_same_image(tiny_sd: Path, image_generator: ImageGenerator, adapter: Adapter) -> None:
    half = ImageGenerator(image_generator.base, "cpu", Precision.bf16)
    half.use(adapter)
    image_generator.use(adapter)
    (rough,), (fine,) = half.draw([request()]), image_generator.draw([request()])
    assert 0 < np.abs(np.asarray(rough, dtype=int) - np.asarray(fine)).mean() < 3
    assert read_parameters(rough.info["parameters"]).precision is Precision.bf16


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_is_enough_to_draw_something(name: str, image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    for steps in (1, 2):
        (image,) = image_generator.draw([request(scheduler=name, inference_steps=steps)])
        assert np.asarray(image).std() > 0


def test_all_samplers_draw_different_images(image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    images = image_generator.draw([request(scheduler=name) for name in SAMPLERS])
    assert len({image.tobytes() for image in images}) == len(SAMPLERS)


@pytest.mark.parametrize("name", ("dpm++_sde_karras", "euler_a"))
def test_noise_on_the_way_is_each_image_s_own(name: str, image_generator: ImageGenerator) -> None:
    image_generator.use(None)
    together = image_generator.draw([request(seed=seed, scheduler=name) for seed in SEEDS[:4]], batch=4)
    (alone,) = image_generator.draw([request(seed=SEEDS[2], scheduler=name)])
    assert np.abs(np.asarray(together[2], dtype=int) - np.asarray(alone)).max() <= 2
    torch.manual_seed(99)
    assert image_generator.draw([request(seed=SEEDS[2], scheduler=name)])[0].tobytes() == alone.tobytes()
