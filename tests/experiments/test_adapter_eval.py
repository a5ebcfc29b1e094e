from __future__ import annotations

import copy
import csv
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from emote.cli.train import compose_config
from emote.config import Config
from emote.experiments.adapter_eval import Judge
from emote.training.run import run
from emote.util.errors import ConfigError


@pytest.fixture(scope="module")
def finished(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run whose learning rate is high enough for its adapter to show."""
    words = ["experiment=stable_emote", *tiny_words, "trainer.learning_rate=0.02", "hardware=cpu"]
    config = compose_config([*words, f"run.dir={tmp_path_factory.mktemp('runs')}"])
    return config, run(config, words)


def test_a_float32_run_has_the_scores_that_it_gave_itself(finished: tuple[Config, Path]) -> None:
    config, path = finished
    judge = Judge(config)
    with open(path / "validation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert judge.score(config, path) == pytest.approx([float(row["final_loss"]) for row in rows], rel=1e-5)
    assert judge.base == pytest.approx([float(row["base_loss"]) for row in rows], rel=1e-5)
    assert judge.concepts == [row["concept"] for row in rows]
    assert judge.score(config, path) != pytest.approx(judge.base, rel=1e-5)


def test_scores_are_remembered_until_the_adapter_or_the_question_changes(
    finished: tuple[Config, Path], tiny_words: list[str]
) -> None:
    config, path = finished
    judge = Judge(config)
    losses = judge.score(config, path)
    remembered = path / "held_out_float32.json"
    remembered.write_text(remembered.read_text().replace(repr(losses[0]), "7.0"))
    assert judge.score(config, path)[0] == 7.0  # read, not computed
    words = ["experiment=stable_emote", *tiny_words, "callbacks.validation.timesteps=3"]
    other = compose_config([*words, "trainer.learning_rate=0.02", "hardware=cpu"])
    assert Judge(other).score(other, path)[0] != 7.0
    assert judge.score(config, path) == pytest.approx(losses)


def test_an_adapter_for_other_images_is_refused(finished: tuple[Config, Path], tiny_words: list[str]) -> None:
    config, path = finished
    other = compose_config(["experiment=stable_emote", *tiny_words, "data.max_items=20"])
    with pytest.raises(ConfigError, match=r"data\.max_items: None and 20"):
        Judge(config).score(other, path)


def test_without_held_out_images_there_is_nothing_to_score(tiny_words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"data\.held_out must be above 0"):
        Judge(compose_config(["experiment=stable_emote", *tiny_words, "data.held_out=0"]))


def test_a_base_model_that_is_replaced_in_between_is_noticed(
    finished: tuple[Config, Path], tiny_sd: Path, tmp_path: Path
) -> None:
    config, path = copy.deepcopy(finished[0]), finished[1]
    shutil.copytree(tiny_sd, tmp_path / "base")
    config.model.path = str(tmp_path / "base")
    judge = Judge(config)
    weights = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(ConfigError, match="was replaced"):
        judge.score(config, path)
