"""What conf/ may say, and that each of its options composes with the schema."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import MISSING

from emote.cli.composing import CONF, hydra_over_conf
from emote.cli.keys import SECTIONS
from emote.cli.train import compose_config
from emote.config import (
    GROUPS,
    RUNTIME_KEYS,
    Config,
    TrainerConfig,
    get,
    micro_batch,
    problems,
    schema_keys,
    to_dataclass,
)

LEAVES = [name for name, _, _ in schema_keys()]
HARDWARE_KEYS = {
    f"trainer.{key}"
    for key in (
        "precision",
        "accelerator",
        "devices",
        "max_micro_batch",
        "num_workers",
        "gradient_checkpointing",
        "compile",
    )
}
TWIN_KEYS = {
    "data.max_items",
    "data.held_out",
    "trainer.max_steps",
    "trainer.schedule_steps",
    "trainer.warmup_steps",
    "trainer.batch_size",
}


def options(group: str) -> list[str]:
    files = sorted((CONF / group).rglob("*.yaml"))
    names = [file.relative_to(CONF / group).with_suffix("").as_posix() for file in files]
    return [name for name in names if not name.rsplit("/", 1)[-1].startswith("_")]


def content(group: str, option: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if f"{prefix}{key}" in ("defaults", "hydra"):
            continue
        if isinstance(value, dict) and f"{prefix}{key}" not in LEAVES:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def overridden_groups(values: dict[str, Any]) -> set[str]:
    """The groups for which a file chooses another option."""
    entries = [entry for entry in values.get("defaults", []) if isinstance(entry, dict)]
    return {key.removeprefix("override /") for entry in entries for key in entry if key.startswith("override ")}


@pytest.fixture(scope="module")
def compose() -> Iterator[Callable[..., Config]]:
    """Compose words without checking them, which takes a third of the time."""
    with hydra_over_conf() as composer:
        yield lambda *words: to_dataclass(composer.compose(words))


EVERY_OPTION = [(group, option) for group in GROUPS for option in options(group)]
EXPERIMENTS = [f"experiment={name}" for name in options("experiment")]
PATHS = {
    "folder": ["data.path=images"],
    "table": ["data.path=list.csv"],
    "iconify": ["data.path=x.tgz"],
    "hub": ["data.path=someone/images"],
}


@pytest.mark.parametrize(("group", "option"), EVERY_OPTION)
def test_every_option_composes_and_has_no_problems(group: str, option: str, compose: Callable[..., Config]) -> None:
    path = PATHS.get(option, []) if group == "data" else []
    config = compose(f"{group}={option}", *path)
    assert problems(config) == []
    assert [name for name in LEAVES if get(config, name) == MISSING] == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("extra", [[], ["twin=mini"], *([f"hardware={name}"] for name in options("hardware"))])
def test_every_experiment_composes_on_every_hardware_and_as_a_twin(
    experiment: str, extra: list[str], compose: Callable[..., Config]
) -> None:
    assert problems(compose(experiment, *extra)) == []


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("data", options("data"))
def test_every_model_composes_with_every_data_set(model: str, data: str, compose: Callable[..., Config]) -> None:
    config = compose(f"model={model}", f"data={data}", *PATHS.get(data, []))
    assert problems(config) == []
    assert config.data.resolution == config.model.resolution


def test_a_hardware_that_is_typed_beats_the_experiment() -> None:
    assert compose_config(["experiment=quickstart"]).trainer.precision.name == "auto"
    assert compose_config(["experiment=quickstart", "hardware=t4"]).trainer.precision.name == "fp16"
    assert compose_config(["hardware=t4", "experiment=quickstart"]).trainer.precision.name == "fp16"


def test_a_key_that_is_typed_beats_the_twin() -> None:
    assert compose_config(["experiment=quickstart", "twin=mini", "trainer.max_steps=7"]).trainer.max_steps == 7


def test_the_twin_makes_the_reported_defaults_small() -> None:
    config = compose_config(["twin=mini"])
    assert (config.model.path, config.data.resolution, config.data.source) == ("weights/mini", 128, "openmoji")


def test_linked_values_follow_what_they_are_linked_to() -> None:
    config = compose_config(["lora.rank=16", "seed=7", "model=mini", "data=openmoji"])
    assert (config.lora.alpha, config.lora.seed, config.data.resolution) == (16.0, 7, 128)


def test_an_interpolation_that_is_typed_is_resolved() -> None:
    config = compose_config(["lora.rank=16", "lora.alpha=${trainer.batch_size}"])
    assert config.lora.alpha == 8.0


def test_no_omegaconf_object_leaves_the_composition() -> None:
    config = compose_config(["+callbacks.extra.mine._target_=a.B", "lora.targets=[to_q]"])
    for value in (config.lora.targets, config.trainer.betas, config.callbacks.samples.prompts):
        assert type(value) in (list, str)
    assert type(config.callbacks.extra) is dict and type(config.callbacks.extra["mine"]) is dict
    assert isinstance(config, Config) and type(config.trainer.options) is not dict


@pytest.mark.parametrize("option", options("hardware"))
def test_hardware_files_set_only_how_a_run_is_done(option: str) -> None:
    assert set(flat(content("hardware", option))) <= HARDWARE_KEYS
    assert overridden_groups(content("hardware", option)) == set()


@pytest.mark.parametrize("option", options("experiment"))
def test_experiments_set_only_what_is_done(option: str) -> None:
    values = content("experiment", option)
    keys = set(flat(values))
    assert not keys & HARDWARE_KEYS
    assert not {key for key in keys if key.split(".")[0] in ("run", "model")}
    assert keys <= set(LEAVES)
    assert overridden_groups(values) <= {"model", "lora", "data", "trainer", "callbacks", "logger", "hardware"}


@pytest.mark.parametrize("option", options("twin"))
def test_twins_set_only_how_small_an_experiment_is(option: str) -> None:
    values = content("twin", option)
    assert {key for key in flat(values) if not key.startswith("callbacks.")} <= TWIN_KEYS
    assert overridden_groups(values) <= {"model", "data", "logger"}


@pytest.mark.parametrize("group", ["hardware", "experiment", "twin"])
def test_the_package_is_declared_on_the_first_line(group: str) -> None:
    for option in options(group):
        first = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first == "# @package _global_", option


def test_a_package_is_declared_nowhere_but_on_a_first_line() -> None:
    for file in CONF.rglob("*.yaml"):
        assert not any("@package" in line for line in file.read_text(encoding="utf-8").splitlines()[1:]), file


def test_every_option_says_in_its_first_comment_what_it_is() -> None:
    for group, option in EVERY_OPTION:
        lines = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
        assert re.match(r"# \w", next(line for line in lines if "@package" not in line)), f"{group}={option}"


def test_every_directory_of_conf_is_a_group() -> None:
    # evaluation/ names judges, which belong to a base model and not to a run
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*GROUPS, "evaluation"}


def test_every_key_has_a_meaning() -> None:
    for name, entry, _ in schema_keys():
        assert entry.metadata.get("meaning"), name


def test_every_key_has_its_default_in_one_file() -> None:
    base = ["model/sd15", "lora/default", "data/_base", "data/openmoji", "trainer/default", "callbacks/default"]
    base.append("launcher/local")
    said = list(flat(yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))))
    for name in [*base, "logger/csv"]:
        group = name.split("/")[0]
        said += flat(yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8")), f"{group}.")
    unsaid = set(LEAVES) - set(said)
    assert {name for name in unsaid if ".options." not in name} == {"callbacks.extra"}  # empty unless somebody adds
    # a component's options have theirs in its file
    assert all(
        entry.default is not MISSING for name, entry, _ in schema_keys() if name in unsaid and ".options." in name
    )
    twice = {key for key in said if said.count(key) > 1}
    assert twice <= {"data.caption", "data.margin"}  # a source says these differently than their base


def test_what_is_called_how_are_keys_or_sections() -> None:
    assert set(LEAVES) | SECTIONS >= RUNTIME_KEYS


def test_infinite_and_undefined_numbers_are_refused() -> None:
    config = compose_config([])
    config.lora.alpha, config.trainer.learning_rate = float("inf"), float("nan")
    assert problems(config) == [
        "lora.alpha must be a finite number, got inf",
        "trainer.learning_rate must be a finite number, got nan",
    ]


@pytest.mark.parametrize(
    ("batch_size", "devices", "nodes", "ceiling", "expected"),
    [(8, 1, 1, 8, 8), (8, 1, 1, 3, 2), (8, 2, 1, 8, 4), (7, 1, 1, 4, 1), (12, 2, 1, 4, 3), (16, 2, 2, 3, 2)],
)
def test_the_micro_batch_is_the_largest_divisor_within_the_ceiling(
    batch_size: int, devices: int, nodes: int, ceiling: int, expected: int
) -> None:
    trainer = TrainerConfig()
    trainer.batch_size, trainer.devices, trainer.nodes = batch_size, devices, nodes
    trainer.max_micro_batch = ceiling
    assert micro_batch(trainer) == expected


def test_the_configuration_needs_no_torch() -> None:
    emote = Path(__file__).parent.parent / "emote"
    for file in (emote / "config.py", *(emote / "command_line").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^(import|from) torch", text, re.MULTILINE)
