"""The experiments in conf/: what they say, and how they differ from each other."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import yaml

from emote.cli.composing import CONF, hydra_over_conf
from emote.cli.train import compose_config, main
from emote.config import Config, as_text, problems, schema_keys, to_dataclass
from emote.experiments.comparable import differences
from emote.experiments.variants import DEFINITION, read_definition, variants
from emote.models.precision import Machine, decide
from emote.runs.identity import identity_keys
from tests.conftest import first_job

NAMES = [name for name, _, _ in schema_keys()]
OURS = ["reported", "stable_emote", "stable_emote_10k", "best", "style/openmoji", "style/twemoji"]

# the reported run, written down from its publication and not from conf/
RECIPE: dict[str, Any] = {
    "seed": 42,
    "model.path": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "data.source": "hub",
    "data.path": "valhalla/emoji-dataset",
    "data.image_column": "image",
    "data.text_column": "text",
    "data.caption": "An emoji of {text}",
    "data.resolution": 256,
    "data.flip": False,
    "lora.rank": 4,
    "lora.alpha": 4.0,
    "lora.init": "gaussian",
    "lora.targets": "attention",
    "lora.dropout": 0.0,
    "lora.dtype": "bfloat16",
    "trainer.learning_rate": 1e-4,
    "trainer.betas": [0.9, 0.999],
    "trainer.weight_decay": 1e-2,
    "trainer.epsilon": 1e-8,
    "trainer.max_grad_norm": None,  # 1 was configured and did nothing
    "trainer.schedule": "cosine",
    "trainer.warmup_steps": 0,
    "trainer.schedule_steps": 15000,
    "trainer.batch_size": 8,
    "trainer.max_steps": 4500,
    "trainer.precision": "bf16",
    "trainer.caption_dropout": 0.0,
    "trainer.snr_gamma": None,
    "callbacks.samples.inference_steps": 40,
    "callbacks.samples.every_steps": 344,  # an epoch: 2,749 images in batches of 8, the last one not full
    "callbacks.checkpoint.every_steps": 500,
}
SHOWN = [
    "smiling face with open mouth", "smiling cat", "fairy", "crying face", "cat face", "supervillain", "car",
    "Santa Claus", "monkey", "giraffe", "robot face", "winking face",
]  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> Iterator[Callable[..., Config]]:
    """Compose words without checking them, once, which takes a third of the time."""
    with hydra_over_conf() as composer:
        yield functools.cache(lambda *words: to_dataclass(composer.compose(words)))


def differing(one: Config, other: Config) -> set[str]:
    return set(differences(one, other, NAMES))


def test_the_configuration_of_the_reported_run_shows_every_value_of_its_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["experiment=reported", "--cfg", "job", "--resolve"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    for name, value in RECIPE.items():
        found = shown
        for part in name.split("."):
            found = found[part]
        assert found == value or float(found) == value, name


def test_the_reported_prompts_are_drawn_and_four_robot_faces_as_its_validation_did(
    compose: Callable[..., Config],
) -> None:
    prompts = compose("experiment=reported").callbacks.samples.prompts
    assert set(prompts) == {f"An emoji of {name}" for name in SHOWN}
    assert prompts.count("An emoji of robot face") == 4 and len(prompts) == len(SHOWN) + 3


def test_its_arithmetic_is_pinned_and_a_hardware_that_is_typed_wins_and_is_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compose_config(["experiment=reported"]).trainer.precision.name == "bf16"
    assert capsys.readouterr().err == ""
    assert compose_config(["experiment=reported", "hardware=t4"]).trainer.precision.name == "fp16"
    assert capsys.readouterr().err == "note: hardware=t4 as typed; the experiment pins hardware=reported\n"


def test_on_a_t4_its_bf16_is_warned_of_and_never_replaced(compose: Callable[..., Config]) -> None:
    trainer = compose("experiment=reported").trainer
    decision = decide(trainer.precision, trainer.accelerator, Machine(gpu="Tesla T4", capability=(7, 5)))
    assert decision.frozen is torch.bfloat16
    assert decision.warning and "emulates" in decision.warning and "fp16" in decision.warning


def test_the_corrected_run_differs_from_the_reported_one_by_its_faults_alone(compose: Callable[..., Config]) -> None:
    faults = {"lora.dtype", "trainer.max_grad_norm", "trainer.precision"}
    reported, corrected = compose("experiment=reported"), compose("experiment=stable_emote")
    assert differing(reported, corrected) == {"name", "callbacks.validation.max_items", *faults}
    assert (as_text(corrected.lora.dtype), corrected.trainer.max_grad_norm) == ("float32", 1.0)
    assert as_text(corrected.trainer.precision) == "auto"


def test_the_longer_run_goes_on_where_the_shorter_one_ended(compose: Callable[..., Config]) -> None:
    short, long = compose("experiment=stable_emote"), compose("experiment=stable_emote_10k")
    assert (short.name, identity_keys(short)) == (long.name, identity_keys(long))
    assert differing(short, long) == {"trainer.max_steps"} and long.trainer.max_steps == 10_000
    assert long.trainer.schedule_steps >= long.trainer.max_steps


def test_what_is_recommended_is_where_the_ablation_ends_at_twice_the_rank(compose: Callable[..., Config]) -> None:
    definition = read_definition(DEFINITION)
    last = variants(definition, [], [42])[-1].config
    best = compose("experiment=best")
    shown = {"name", "trainer.precision"} | {name for name in NAMES if name.startswith("callbacks.")}
    assert differing(best, last) - shown == {"lora.rank", "lora.alpha"}


def test_each_step_of_the_ablation_changes_exactly_one_thing(compose: Callable[..., Config]) -> None:
    steps = variants(read_definition(DEFINITION), ["twin=mini"], [7])
    changes = [differing(one.config, other.config) - {"name"} for one, other in itertools.pairwise(steps)]
    assert changes == [
        {"lora.dtype"},
        {"trainer.max_grad_norm"},
        {"lora.targets"},
        {"trainer.snr_gamma"},
        {"trainer.caption_dropout"},
    ]
    reported = compose("experiment=reported", "twin=mini", "seed=7")
    assert identity_keys(steps[0].config) == identity_keys(reported)
    assert {variant.config.lora.seed for variant in steps} == {7}


@pytest.mark.parametrize("name", OURS)
def test_the_twin_keeps_what_distinguishes_an_experiment(compose: Callable[..., Config], name: str) -> None:
    whole, twin = compose(f"experiment={name}"), compose(f"experiment={name}", "twin=mini")
    assert twin.trainer.max_steps == 300 and twin.model.path == "weights/mini" and not twin.logger.to
    small = {"model.path", "model.resolution", "model.resolution_multiple", "data.resolution", "data.source",
             "data.path", "data.margin", "trainer.max_steps", "logger.to"}  # fmt: skip
    shown = {"callbacks.samples.every_steps", "callbacks.samples.guidance_scale", "callbacks.validation.every_steps",
             "callbacks.checkpoint.every_steps"}  # fmt: skip
    assert differing(whole, twin) <= small | shown


@pytest.mark.parametrize("style", ["openmoji", "twemoji"])
@pytest.mark.parametrize("twin", [[], ["twin=mini"]])
def test_a_style_is_learned_from_its_own_art(compose: Callable[..., Config], style: str, twin: list[str]) -> None:
    config = compose(f"experiment=style/{style}", *twin)
    assert config.data.source == style
    assert all(prompt.endswith(f", {style} style") for prompt in config.callbacks.samples.prompts)
    assert "{style}" in config.data.caption


def test_images_of_ones_own_are_not_silently_replaced_by_a_styles_art() -> None:
    words = ["data=folder", "data.path=images"]
    for style in ("twemoji", "openmoji"):
        assert compose_config([f"experiment=style/{style}", *words]).data.source == "folder"


@pytest.mark.parametrize("name", OURS)
def test_a_header_has_the_command_and_what_to_expect(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert "Expected" in header and f"python train.py experiment={name}" in header


def test_the_commands_of_the_headers_compose(compose: Callable[..., Config]) -> None:
    commands = []
    for file in sorted((CONF / "experiment").rglob("*.yaml")):
        found = re.findall(
            r"^#\s+python train\.py (.*?)(?:\s{2,}#.*)?$", file.read_text(encoding="utf-8"), re.MULTILINE
        )
        commands += [shlex.split(words) for words in found]
    assert len(commands) >= 10
    for words in commands:
        assert problems(compose(*first_job(words))) == [], words


def test_the_figures_in_the_header_are_those_of_the_table(compose: Callable[..., Config]) -> None:
    from emote.experiments import reported

    text = (CONF / "experiment" / "reported.yaml").read_text(encoding="utf-8")
    for figure in (reported.FIRST_LOSS, reported.LAST_LOSS, reported.SECONDS_PER_STEP):
        assert f" {figure.low}\n" in text
    assert f" {reported.HOURS.low} to {reported.HOURS.high}\n" in text
    assert reported.SOURCE.split(",")[0] in text
    assert compose("experiment=reported").trainer.max_steps == reported.STEPS.low
