"""`emote compare` on the tiny model: what is compared, that it is paired, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from emote.experiments.comparison.nested import NestedOptions
from emote.experiments.comparison.nested_run import compare_nested
from emote.experiments.comparison.recipes import RecipesOptions, read_definition
from emote.experiments.comparison.recipes_run import compare_recipes
from emote.experiments.comparison.rows import mean
from emote.util.errors import ConfigError

RECIPES = """
experiment: stable_emote
words: [trainer.max_steps=2, lora.rank=2]
rows:
  standing still: trainer.learning_rate=1e-9
  faster: trainer.learning_rate=0.02
screen: {seeds: [1], sets: {ten images: data.training_items=10}}
full: {rows: 1, seeds: [1], sets: {all images: data.training_items=null}}
confirm: {seeds: [3], sets: {all again: data.training_items=null}}
"""


@pytest.fixture(scope="module")
def words(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    kept = [word for word in tiny_words if not word.startswith(("callbacks.samples.", "trainer.max_steps"))]
    return [*kept, f"run.dir={tmp_path_factory.mktemp('runs')}"]


def test_nested_ranks_are_compared_with_the_same_ranks_alone(words: list[str]) -> None:
    options = NestedOptions(ranks=[1, 2], seeds=[1])
    path = compare_nested(options, [*words, "trainer.max_steps=2", "trainer.learning_rate=0.02"])
    told = json.loads((path.parent / "nested.json").read_text())
    assert set(told["losses"]) == {"one by one", "mean of all", "drawn"}
    alone, own = told["losses"]["one by one"], told["losses"]["mean of all"]
    assert told["differences"]["mean of all"]["1"]["value"] == pytest.approx(own["1"] - alone["1"])
    assert told["cost"]["one by one"][0] == 4 and told["cost"]["drawn"][0] == 2
    assert own["1"] != own["2"] and own["1"] != alone["1"]
    text = path.read_text(encoding="utf-8")
    assert "| rank | one by one |" in text and "smallest within one standard error" in text
    with Image.open(path.parent / "nested.png") as image:
        assert image.width > 500


def test_recipes_are_screened_then_the_best_in_full(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (definition := tmp_path / "recipes.yaml").write_text(RECIPES)
    options = RecipesOptions(stage="full", definition=str(definition), output=str(tmp_path))
    path = compare_recipes(options, words)
    told = json.loads((path.parent / "recipes.json").read_text())
    assert [(each["stage"], list(each["rows"])) for each in told["sets"]] == [
        ("screen", ["standing still", "faster"]), ("full", ["faster"]),
    ]  # fmt: skip
    screen, full = told["sets"]
    assert screen["images"] == full["images"]  # whatever is trained on
    assert screen["base_loss"] == full["base_loss"]
    row = screen["rows"]["faster"]
    assert row["difference"]["value"] == pytest.approx(row["loss"] - screen["recipe"]["loss"])
    assert row["corrected_p"] == pytest.approx(min(1.0, 2 * row["p"])) or row["corrected_p"] >= row["p"]
    text = path.read_text(encoding="utf-8")
    assert "## ten images (screen; seeds 1)" in text and "`trainer.learning_rate=0.02`" in text
    with Image.open(path.parent / "recipes.png") as image:
        assert image.width > 500
    capsys.readouterr()
    assert compare_recipes(options, words).read_text(encoding="utf-8") == text  # finished runs and scores are kept
    assert capsys.readouterr().out.count("finished already") == 3 + 2


def test_what_a_comparison_sets_itself_is_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank=4: the comparison sets that itself"):
        compare_nested(NestedOptions(), ["lora.rank=4"])
    with pytest.raises(ConfigError, match="ranks must be two or more, increasing"):
        compare_nested(NestedOptions(ranks=[4, 2]), [])
    with pytest.raises(ConfigError, match="stage must be one of"):
        compare_recipes(RecipesOptions(stage="ful"), words)
    with pytest.raises(ConfigError, match="rows must be one of"):
        compare_recipes(RecipesOptions(rows=["Hubert"]), words)
    (tmp_path / "odd.yaml").write_text("rows: {}")
    with pytest.raises(ConfigError, match="must have the keys experiment, words, rows"):
        read_definition(tmp_path / "odd.yaml")


def test_the_mean_is_over_seeds_and_images() -> None:
    assert mean([[1.0, 3.0], [5.0, 7.0]]) == 4.0
