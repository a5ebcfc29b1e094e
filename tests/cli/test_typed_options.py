"""What a person types stands: a typed option's own keys in every experiment; what else the experiment sets is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from emote.cli.composing import CONF, Composer, hydra_over_conf
from emote.cli.keys import flat
from emote.cli.train import main
from emote.config import GROUPS
from tests.test_config import PATHS, options

TYPED = [(group, name) for group in GROUPS if group != "experiment" for name in options(group)]
EXPERIMENTS = options("experiment")


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    with hydra_over_conf() as composer:
        yield composer


def raw(config: Any) -> dict[str, Any]:
    """Values by key, links as they are written."""
    content: Any = OmegaConf.to_container(config, resolve=False)
    return {name: getattr(value, "name", value) for name, value in flat(content, "")}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(("group", "name"), TYPED)
def test_what_the_file_of_a_typed_option_says_stands_in_every_experiment(
    composer: Composer, experiment: str, group: str, name: str
) -> None:
    words = [f"experiment={experiment}", f"{group}={name}", *(PATHS.get(name, []) if group == "data" else [])]
    composed = raw(composer.compose(words))
    file = CONF / group / f"{name}.yaml"
    told: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    prefix = "" if "@package _global_" in file.read_text(encoding="utf-8").split("\n")[0] else f"{group}."
    own = {key: value for key, value in flat(told, prefix) if key.removeprefix(prefix).split(".")[0] != "defaults"}
    typed = {word.partition("=")[0] for word in words}
    assert {key: composed[key] for key in own if key not in typed} == {k: v for k, v in own.items() if k not in typed}


def test_a_folder_keeps_its_captions_and_a_recipe_its_rate(
    composer: Composer, tmp_path: Path, files: Callable[[str, str], list[str]]
) -> None:
    config = composer.compose(["experiment=quickstart", "data=folder", "data.path=images"])
    assert (config.data.source, config.data.caption) == ("folder", "{text}")
    files("trainer/fast", "defaults:\n  - default\n  - _self_\nlearning_rate: 0.01\n")
    where = f'hydra.searchpath=["file://{tmp_path / "mine"}"]'
    config = composer.compose([where, "experiment=quickstart", "trainer=fast"])
    assert (config.trainer.learning_rate, config.trainer.max_steps) == (0.01, 200)  # inherited: the experiment's


def test_a_typed_key_stands_before_a_typed_option_and_the_twin_stays_small(composer: Composer) -> None:
    words = ["experiment=best", "lora=default", "lora.rank=3", "trainer=default", "twin=mini"]
    config = composer.compose(words)
    assert (config.lora.rank, config.lora.targets, config.trainer.max_steps) == (3, "attention", 300)


def test_links_of_a_typed_option_stay_links(composer: Composer) -> None:
    assert composer.compose(["experiment=best", "lora=default", "lora.rank=16"]).lora.alpha == 16


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["experiment=quickstart", "data=folder", "data.path=x"], ""),  # the experiment sets the caption alone
        (["experiment=best", "lora=default"], ""),
        (["data=twemoji", "trainer=default"], ""),  # no experiment
        (
            ["experiment=smoke", "data=twemoji"],
            "note: data=twemoji as typed; experiment=smoke sets beside it data.held_out=0.2, data.max_items=48\n",
        ),
        (
            ["experiment=reported", "hardware=t4"],
            "note: hardware=t4 as typed; the experiment pins hardware=reported\n",
        ),
    ],
)
def test_what_an_experiment_sets_beyond_a_typed_option_is_told_in_a_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*words, "--cfg", "job"]) == 0
    assert capsys.readouterr().err == told
