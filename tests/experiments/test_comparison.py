"""`emote nested` on the tiny model: what they compare, that it is paired, and what is refused."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from emote.experiments.comparison.nested import NestedOptions, compare_nested
from emote.experiments.comparison.rows import mean
from emote.util.errors import ConfigError


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


def test_what_a_comparison_sets_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank=4: the comparison sets that itself"):
        compare_nested(NestedOptions(), ["lora.rank=4"])
    with pytest.raises(ConfigError, match="ranks must be two or more, increasing"):
        compare_nested(NestedOptions(ranks=[4, 2]), [])


def test_the_mean_is_over_seeds_and_images() -> None:
    assert mean([[1.0, 3.0], [5.0, 7.0]]) == 4.0
