"""`run=[a:0.8, b:0.4]` wherever an adapter is named: what is drawn, what is written, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emote.cli.keywords import read_keywords, run_command
from emote.inference.export import Export, export
from emote.inference.image_generator import ImageGenerator
from emote.inference.job import generate
from emote.inference.options import Options
from emote.inference.plan import plan_images
from emote.inference.png_metadata import read_parameters
from emote.inference.resolve_adapter import find_adapter
from emote.lora.adapter_file import read_adapter
from emote.runs.mix_names import mix_label, parse_mix, split_outside
from emote.util.errors import ConfigError
from tests.inference.conftest import NAME, request, write_step

OTHER = "other-ba9876543210"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_sd: Path) -> Path:
    """A directory with two runs of different captions and guidance, and a speed adapter."""
    runs = tmp_path_factory.mktemp("two")
    write_step(runs / NAME, 20, tiny_sd, 0.3)
    samples = {"samples": {"prompts": ["A dog"], "guidance_scale": 6.0, "lora_scale": 0.7}}
    write_step(runs / OTHER, 10, tiny_sd, 0.2, name="other", callbacks=samples)
    fast = {"samples": {"prompts": ["A dog"], "guidance_scale": 1.0}}
    write_step(
        runs / "speed-aaaaaaaaaaaa", 10, tiny_sd, 0.1, name="speed", callbacks=fast, trainer={"objective": "lcm"}
    )
    return runs


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[a:0.8, b:0.4]", [("a", 0.8), ("b", 0.4)]),
        ("[a]", [("a", None)]),
        ("[a/20:-1,hub/name/file.safetensors:2]", [("a/20", -1.0), ("hub/name/file.safetensors", 2.0)]),
        ("[C:\\x.safetensors, d:nan]", [("C:\\x.safetensors", None), ("d:nan", None)]),
        ("[[a:1,b:2]:0.5, c]", [("[a:1,b:2]", 0.5), ("c", None)]),
    ],
)
def test_a_mix_is_read(text: str, parts: list) -> None:
    assert parse_mix(text) == parts
    if all(weight is not None for _, weight in parts):
        assert parse_mix(mix_label(parts)) == parts


def test_what_is_no_mix_is_none() -> None:
    assert parse_mix("a:0.8") is None and parse_mix("quickstart") is None
    with pytest.raises(ConfigError, match="names no adapter"):
        parse_mix("[ ]")
    assert split_outside("a [b, c], d") == ["a [b, c]", "d"]
    assert split_outside("a ], b") == ["a ]", "b"] and split_outside("a [, b") == ["a [", "b"]


def test_lists_of_runs_may_hold_a_mix() -> None:
    from emote.experiments.evaluation.options import EvaluateOptions

    assert read_keywords(EvaluateOptions, ["runs=[[a:0.8,b:0.4], c]"]).runs == ["[a:0.8,b:0.4]", "c"]


def test_a_mix_knows_what_its_first_style_knows(two: Path) -> None:
    found = find_adapter("[speed:1, other, tiny:0.25]", two)
    assert found.label == "[speed-aaaaaaaaaaaa/10:1,other-ba9876543210/10:0.7,tiny-0123456789ab/20:0.25]"
    assert (found.guidance_scale, found.lora_scale, found.prompts) == (6.0, 1.0, ("A dog",))
    assert found.few_steps is not None and found.few_steps.scheduler == "lcm"
    assert find_adapter(found.label, two).short_hash == found.short_hash
    assert (
        find_adapter("[other:0.7, tiny:0.3]", two).short_hash != find_adapter("[other:0.7, tiny:0.2]", two).short_hash
    )
    assert find_adapter("[speed:0, tiny]", two).few_steps is None


def test_a_mix_draws_the_sum_and_says_so_in_the_image(two: Path, image_generator: ImageGenerator) -> None:
    def draw(run: str, **changes: Any) -> Any:
        image_generator.use(find_adapter(run, two))
        return image_generator.draw([request(**changes)])[0]

    one, both = draw("tiny", lora_scale=0.5), draw("[tiny:0.5]")
    assert np.abs(np.asarray(one, dtype=int) - np.asarray(both)).max() <= 2
    split, whole = draw("[tiny:0.25, tiny:0.25]"), np.asarray(both, dtype=int)
    assert np.abs(np.asarray(split) - whole).max() <= 2
    other = draw("[tiny:0.5, other:0.9]", lora_scale=0.5)
    assert np.abs(np.asarray(other) - whole).max() > 2
    text = other.info["parameters"]
    assert "<lora:tiny:0.25> <lora:other:0.45>" in text
    read = read_parameters(text)
    assert read.request == request(lora_scale=0.5) and read.run == find_adapter("[tiny:0.5, other:0.9]", two).label
    assert [(name, weight) for name, weight, _ in read.mix] == [("tiny", 0.5), ("other", 0.9)]


def test_an_image_of_a_mix_is_drawn_again(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: dict[str, Any] = {"runs_dir": str(two), "n": 1, "inference_steps": 2}
    assert generate(Options(run="[tiny:0.5, other:0.9]", prompts=["cat"], output=str(tmp_path / "a"), **words)) == 0
    (file,) = (tmp_path / "a").glob("*.png")
    capsys.readouterr()
    assert generate(Options(from_image=str(file), runs_dir=str(two), output=str(tmp_path / "b"))) == 0
    assert "the same image, bit for bit" in capsys.readouterr().out
    generate(Options(from_image=str(file), run="[tiny:0.5, tiny:0.9]", runs_dir=str(two), output=str(tmp_path / "c")))
    assert "are other adapters than those that drew it" in capsys.readouterr().out


def test_a_dora_in_a_mix_is_refused_before_a_weight_is_read(two: Path, tiny_sd: Path, tmp_path: Path) -> None:
    from emote.lora.adapter import attach
    from emote.lora.formats import save_diffusers
    from tests.models.helpers import fresh_unet, learn, lora_config

    unet, lora = fresh_unet(tiny_sd), lora_config(variant="dora")
    attach(unet, lora)
    learn(unet)
    runs = Path(shutil.copytree(two, tmp_path / "runs"))
    step = runs / OTHER / "steps" / "000010"
    save_diffusers(unet, step, lora)
    with pytest.raises(ConfigError, match="other-ba9876543210/10 is a DoRA, which cannot be mixed"):
        plan_images(Options(run="[tiny:0.5, other:0.5]", prompts=["cat"], runs_dir=str(runs)))


def plan(two: Path, run: str, tmp_path: Path, **said: Any) -> Any:
    return plan_images(Options(run=run, prompts=["cat"], runs_dir=str(two), output=str(tmp_path / "out"), **said))


def test_a_speed_adapter_is_drawn_with_in_a_few_steps_and_typed_keys_win(two: Path, tmp_path: Path) -> None:
    for run in ("speed", "[tiny:0.8, speed:1]"):
        planned = plan(two, run, tmp_path, n=1, compare=True)
        base, fast = (shot.request for shot in planned.shots)
        assert (fast.scheduler, fast.inference_steps, fast.guidance_scale) == ("lcm", 4, 1.0)
        assert (base.scheduler, base.inference_steps) == ("dpm++", 25) and base.guidance_scale > 1
        assert planned.notes == ()
    typed = plan(two, "speed", tmp_path, scheduler="euler", inference_steps=25, guidance_scale=7.0)
    request = typed.shots[0].request
    assert (request.scheduler, request.inference_steps, request.guidance_scale) == ("euler", 25, 7.0)
    said = " ".join(typed.notes)
    for words in ("scheduler=lcm", "made for 1 to 8 steps, got 25", "made for guidance 1 to 2, got 7"):
        assert words in said
    assert (
        "is for adapters that draw in a few steps, and none is in use"
        in plan(two, "tiny", tmp_path, scheduler="LCM").notes[0]
    )
    with pytest.raises(ConfigError, match="inference_steps must be at most 50 with scheduler=lcm"):
        plan(two, "speed", tmp_path, inference_steps=60)


def test_an_adapter_of_a_few_steps_draws(two: Path, image_generator: ImageGenerator, tmp_path: Path) -> None:
    planned = plan(two, "speed", tmp_path, n=1)
    image_generator.use(planned.adapter)
    for eta, scheduler in ((None, "lcm"), (0.3, "tcd"), (1.0, "tcd"), (None, "ddim_trailing")):
        asked = replace(planned.shots[0].request, scheduler=scheduler, eta=eta, inference_steps=2)
        first, again = (image_generator.draw([asked])[0] for _ in range(2))
        assert np.array_equal(np.asarray(first), np.asarray(again))
        assert read_parameters(first.info["parameters"]).request == asked


@pytest.mark.parametrize("to", ["diffusers", "kohya"])
def test_a_mix_is_exported_as_one_file_exactly_or_reduced_with_its_cost(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    words = [f"runs_dir={two}", f"to={to}", "run=[tiny:0.8, other:-0.5]"]
    assert run_command(Export, export, "", [*words, f"output={tmp_path / 'mix.safetensors'}"]) == 0
    assert "nothing is lost but float32's rounding" in capsys.readouterr().out
    wanted = find_adapter("[tiny:0.8, other:-0.5]", two).load().layers
    found = read_adapter(tmp_path / "mix.safetensors").layers
    assert found.keys() == wanted.keys()
    for name, layer in wanted.items():
        assert torch.equal(found[name].up, layer.up) and found[name].scale == layer.scale == 1
    assert run_command(Export, export, "", [*words, "rank=2", f"output={tmp_path / 'small.safetensors'}"]) == 0
    assert "of ΔW is lost (Frobenius)" in capsys.readouterr().out
    assert {layer.rank for layer in read_adapter(tmp_path / "small.safetensors").layers.values()} == {2}


def test_a_mix_is_fused_as_its_parts_one_after_the_other(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_sd: Path
) -> None:
    from safetensors.torch import load_file

    def fuse(run: str, output: str, *more: str) -> Path:
        code = run_command(
            Export, export, "", [f"run={run}", "to=fuse", f"output={tmp_path / output}", f"runs_dir={two}", *more]
        )
        assert code == 0, capsys.readouterr().err
        return tmp_path / output

    both = load_file(next((fuse("[tiny:0.5, other:0.9]", "both") / "unet").glob("*.safetensors")))
    first = fuse("tiny", "first", "lora_scale=0.5")
    second = load_file(
        next((fuse("other", "second", "lora_scale=0.9", f"model={first}") / "unet").glob("*.safetensors"))
    )
    assert both.keys() == second.keys()
    assert max(float((both[name] - second[name]).abs().max()) for name in both) < 1e-5
