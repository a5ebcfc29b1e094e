from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from emote.experiments.ablate import AblationOptions, ablate
from emote.experiments.variants import DEFINITION, read_definition, variants
from emote.util.errors import ConfigError
from tests.evaluation.images.judges import build_tiny_judge

SMALL = """
experiment: reported
seeds: [1, 2]
words: ["callbacks.samples.prompts=[]", callbacks.validation.max_items=2]
steps:
  - as reported:
  - float32 adapter: lora.dtype=float32
  - faster: trainer.learning_rate=0.02
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("definition") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def words(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    kept = [word for word in tiny_words if not word.startswith("callbacks.samples.")]
    return [*kept, "trainer.max_steps=2", f"run.dir={tmp_path_factory.mktemp('runs')}"]


@pytest.fixture(scope="module")
def ablated(small: Path, words: list[str]) -> Path:
    return ablate(AblationOptions(definition=str(small)), words)


def test_the_table_has_a_row_for_each_step_and_the_data_beside_it(ablated: Path) -> None:
    told = json.loads((ablated.parent / "ablation.json").read_text())
    assert [step["name"] for step in told["steps"]] == ["as reported", "float32 adapter", "faster"]
    assert told["seeds"] == [1, 2] and len(told["runs"]) == 6 and told["max_steps"] == 2
    text = ablated.read_text(encoding="utf-8")
    assert "| as reported " in text and "| + faster " in text and "Mean over 2 seeds" in text
    assert Image.open(ablated.parent / "ablation.png").width > 500


def test_differences_are_paired_by_seed_and_add_up(ablated: Path) -> None:
    first, second, third = json.loads((ablated.parent / "ablation.json").read_text())["steps"]
    assert first["to_first"] is None and first["to_last"] is None
    assert second["to_first"] == second["to_last"]
    total = second["to_last"]["difference"] + third["to_last"]["difference"]
    assert third["to_first"]["difference"] == pytest.approx(total)
    assert len(third["to_last"]["by_seed"]) == 2 and third["to_last"]["by_seed"][0] != third["to_last"]["by_seed"][1]
    assert first["to_base"]["before"] == third["to_base"]["before"]
    assert first["clipped"] is None and first["largest_norm"] > 0


def test_runs_with_one_seed_start_from_the_same_adapter_and_noise(ablated: Path) -> None:
    """So the first step's loss, before anything was learned, is the same but for the adapter's rounding."""
    runs = json.loads((ablated.parent / "ablation.json").read_text())["runs"]

    def first_loss(name: str) -> str:
        return (Path(runs[name]) / "metrics.csv").read_text().splitlines()[1].split(",")[1]

    assert first_loss("float32 adapter, seed 1") == first_loss("faster, seed 1")
    assert first_loss("float32 adapter, seed 1") != first_loss("float32 adapter, seed 2")


def test_said_again_it_costs_nothing_and_says_the_same(
    ablated: Path, small: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = ablated.read_text()
    assert ablate(AblationOptions(definition=str(small)), words) == ablated
    told = capsys.readouterr().out
    assert told.count("finished already") == 6 and "run 6 of 6: faster, seed 2" in told
    assert ablated.read_text() == before


def test_a_judge_can_look_at_what_every_step_draws(
    ablated: Path, small: Path, words: list[str], tmp_path: Path
) -> None:
    judge = str(build_tiny_judge(tmp_path))
    path = ablate(AblationOptions(definition=str(small), images=6, judge=judge, output=str(tmp_path)), words)
    looked = json.loads((path.parent / "ablation.json").read_text())["looked"]
    assert [step["name"] for step in looked["steps"]] == ["as reported", "float32 adapter", "faster"]
    assert looked["prompts"] == 6 and looked["steps"][0]["to_last"] == {}
    first, second = looked["steps"][:2]
    change = second["figures"]["recognised_top5"]["value"] - first["figures"]["recognised_top5"]["value"]
    assert second["to_last"]["recognised_top5"]["value"] == pytest.approx(change)
    assert second["to_last"]["style_share"]["interval_95"] is not None
    text = path.read_text(encoding="utf-8")
    assert "## What one sees" in text and "images=6" in text and "share of the way" in text
    with Image.open(path.parent / "ablation-images.png") as sheet:
        assert sheet.width > 4 * 100  # base and three steps
    assert "## What one sees" not in ablated.read_text(encoding="utf-8")


def test_a_judge_without_images_is_told(small: Path, words: list[str]) -> None:
    with pytest.raises(ConfigError, match="judge=mini has no effect without images="):
        ablate(AblationOptions(definition=str(small), judge="mini"), words)
    with pytest.raises(ConfigError, match="images must be 0 or at least 4, got 2"):
        ablate(AblationOptions(definition=str(small), images=2), words)


def test_the_words_cannot_say_what_the_ablation_varies() -> None:
    definition = read_definition(DEFINITION)
    for word in ("seed=3", "lora.targets=all", "experiment=best", "name=x"):
        with pytest.raises(ConfigError, match=word.split("=")[0]):
            variants(definition, [word], [1])
    with pytest.raises(ConfigError, match="seeds must differ"):
        variants(definition, [], [1, 1])


@pytest.mark.parametrize("change", ["lora.rank=4", "lora.rank=8"])
def test_a_step_that_changes_nothing_or_two_keys_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SMALL.replace("trainer.learning_rate=0.02", change))
    with pytest.raises(ConfigError, match=r"must change one key; faster .* changes (nothing|lora.rank, lora.alpha)"):
        variants(read_definition(path), ["twin=mini"], [1])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("experiment: reported", "experimnt: reported", "must have the keys"),
        ("seeds: [1, 2]", "seeds: []", "seeds must be written"),
        ("  - as reported:", "  - as reported: lora.rank=2", "first step changes nothing"),
        ("  - faster: trainer.learning_rate=0.02", "  - faster", "steps must be written"),
    ],
)
def test_mistakes_in_a_definition_are_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        read_definition(path)
