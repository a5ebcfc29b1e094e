"""`emote evaluate` from words to page, on the tiny model and a tiny judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.experiments.evaluation.evaluate import evaluate
from emote.experiments.evaluation.options import EvaluateOptions
from emote.experiments.evaluation.plan import default_data, noise_seed
from emote.inference.options import Options
from emote.inference.plan import plan_images
from emote.inference.resolve_adapter import find_adapter
from emote.util.errors import ConfigError
from tests.evaluation.images.judges import build_tiny_judge
from tests.inference.conftest import write_step

FIGURES = {"recognised_top1", "recognised_top5", "mean_rank", "legible_32", "legible_20", "style_mmd2", "style_kid",
           "copies", "copies_trained", "diversity", "usable"}  # fmt: skip


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_sd: Path, images: Path) -> Path:
    """Two runs on one set that differ by their strength."""
    directory = tmp_path_factory.mktemp("runs")
    data = default_data() | {
        "source": "folder", "path": str(images), "resolution": 32, "caption": "An emoji of {text}", "held_out": 0.3
    }  # fmt: skip
    for name, strength in (("weak-0123456789ab", 0.1), ("strong-ba9876543210", 0.4)):
        write_step(directory / name, 10, tiny_sd, strength, data=data, trainer={"seed": 0})
    return directory


@pytest.fixture(scope="module")
def told(runs: Path, judge: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """evaluation.json of both, and where the page lies."""
    torch.set_num_threads(1)  # as in the tests: bits depend on it
    cache = tmp_path_factory.mktemp("drawings")
    page = evaluate(options(runs, judge, cache, runs=["weak", "strong"]))
    return {"page": page, "cache": cache, **json.loads((page.parent / "evaluation.json").read_text())}


def options(runs_dir: Path, tiny_judge: Path, cache: Path, **changes: Any) -> EvaluateOptions:
    values: dict[str, Any] = {
        "prompts": 8, "inference_steps": 2, "lora_scales": [0.5, 1.0], "curve_prompts": 6, "judge": str(tiny_judge),
        "runs_dir": str(runs_dir), "cache_dir": str(cache),
    }  # fmt: skip
    return EvaluateOptions(**(values | changes))


def test_every_figure_is_there_for_the_base_and_each_adapter(told: dict[str, Any]) -> None:
    assert set(told["base"]) == FIGURES
    assert set(told["adapters"]) == {"weak-0123456789ab/10", "strong-ba9876543210/10"}
    for found in told["adapters"].values():
        assert set(found["figures"]) == FIGURES | {"style_share", "drift"} and set(found["to_base"]) == FIGURES
        assert [point["lora_scale"] for point in found["curve"]] == [0.5, 1.0]
    assert told["prompts"] == 8 and told["held_out_prompts"] == 4


def test_seeds_are_replicates_and_recipes_are_compared_seed_by_seed(
    judge: Path, told: dict[str, Any], tmp_path: Path, tiny_sd: Path, images: Path
) -> None:
    data = default_data() | {
        "source": "folder", "path": str(images), "resolution": 32, "caption": "An emoji of {text}", "held_out": 0.3
    }  # fmt: skip
    names = {}
    for letter, (recipe, seed, strength) in zip(
        "abcd", [("slow", 1, 0.1), ("slow", 2, 0.15), ("fast", 1, 0.3), ("fast", 2, 0.4)], strict=True
    ):
        names[recipe, seed] = f"{recipe}-{letter * 12}"
        recipe_of = {"learning_rate": 1.0 if recipe == "slow" else 2.0, "max_steps": seed}  # how far is no recipe
        write_step(tmp_path / names[recipe, seed], 10, tiny_sd, strength, data=data, trainer=recipe_of, seed=seed,
                   lora={"rank": 4, "seed": seed})  # fmt: skip
    page = evaluate(
        options(tmp_path, judge, told["cache"], runs=list(names.values()), lora_scales=[1.0], curve_prompts=4)
    )
    found = json.loads((page.parent / "evaluation.json").read_text())
    slow, fast = found["replicates"]
    assert slow["runs"] == [f"{names['slow', seed]}/10" for seed in (1, 2)]
    own = [found["adapters"][run]["figures"]["style_mmd2"]["value"] for group in (slow, fast) for run in group["runs"]]
    assert slow["figures"]["style_mmd2"]["value"] == pytest.approx(sum(own[:2]) / 2)
    (between,) = found["between_replicates"].values()
    assert between["style_mmd2"]["value"] == pytest.approx((own[0] + own[1] - own[2] - own[3]) / 2)
    assert between["style_mmd2"]["interval_95"] is not None
    strengths = [(found["adapters"][run]["recommended"] or {}).get("lora_scale") for run in slow["runs"]]
    assert strengths == [slow["recommended"]] * 2  # one for all of its seeds
    text = page.read_text(encoding="utf-8")
    assert "<h2>Over seeds</h2>" in text and "and 1 more of its seeds" in text


def test_what_differs_more_from_the_base_has_drifted_further(told: dict[str, Any]) -> None:
    weak, strong = (told["adapters"][name]["figures"]["drift"]["value"] for name in sorted(told["adapters"])[::-1])
    assert 0 < weak < strong


def test_the_page_needs_nothing_else_and_the_markdown_has_its_images(told: dict[str, Any]) -> None:
    page: Path = told["page"]
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text
    for section in ("Figures", "Between adapters", "By strength", "Base beside adapters", "Closest to training images"):
        assert f"<h2>{section}</h2>" in text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    shown = [part.split(")")[0] for part in markdown.split("](")[1:]]
    assert shown and all((page.parent / name).is_file() for name in shown)


def test_the_same_words_again_draw_nothing(runs: Path, judge: Path, told: dict[str, Any]) -> None:
    page = evaluate(options(runs, judge, told["cache"], runs=["weak", "strong"]))
    again = json.loads((page.parent / "evaluation.json").read_text())
    assert again["costs"]["images_drawn"] == 0
    assert again["adapters"] == told["adapters"]


def test_a_damaged_drawing_is_drawn_again(runs: Path, judge: Path, told: dict[str, Any]) -> None:
    next((told["cache"] / "drawings").rglob("*.png")).write_bytes(b"half")
    page = evaluate(options(runs, judge, told["cache"], runs=["weak", "strong"]))
    again = json.loads((page.parent / "evaluation.json").read_text())
    assert again["costs"]["images_drawn"] == 1 and again["adapters"] == told["adapters"]


def test_the_recommended_strength_is_used_unless_another_is_typed(runs: Path, tmp_path: Path) -> None:
    file = find_adapter("weak", runs).file
    beside = file.with_name("evaluation.json")
    before = beside.read_text() if beside.exists() else None
    recommended = {"lora_scale": 0.55, "guidance_scale": None, "reason": "it is best"}
    facts = {"format": 1, "adapter_hash": find_adapter("weak", runs).short_hash, "recommended": recommended}
    try:
        beside.write_text(json.dumps(facts))
        words = {"run": "weak", "prompts": ["a cat"], "n": 1, "runs_dir": str(runs), "output": str(tmp_path)}
        plan = plan_images(Options(**words))
        assert plan.shots[0].request.lora_scale == 0.55 and "0.55 (lora_scale= changes it): it is best" in plan.notes[0]
        typed = plan_images(Options(**words, lora_scale=0.9))
        assert typed.shots[0].request.lora_scale == 0.9 and typed.notes == ()
        beside.write_text(json.dumps(facts | {"adapter_hash": "of another"}))
        assert find_adapter("weak", runs).lora_scale == 1.0
        beside.write_text(json.dumps(facts | {"recommended": {"lora_scale": "much"}}))
        with pytest.raises(ConfigError, match=r"evaluation\.json cannot be read"):
            find_adapter("weak", runs)
    finally:
        beside.unlink()
        if before:
            beside.write_text(before)


def test_runs_of_different_sets_are_not_compared(runs: Path, judge: Path, tmp_path: Path, tiny_sd: Path) -> None:
    other = default_data() | {"source": "openmoji", "resolution": 32}
    write_step(tmp_path / "other-000000000000", 5, tiny_sd, 0.1, data=other)
    with pytest.raises(ConfigError, match="runs must be of one set"):
        evaluate(options(runs, judge, tmp_path, runs=["weak", str(tmp_path / "other-000000000000")]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": "weka"}, "did you mean weak"),
        ({"run": "weak", "runs": ["strong"]}, "says nothing beside runs="),
        ({"run": "weak", "data_path": "x"}, "data_path says nothing without data="),
        ({"run": "weak", "data": "folder"}, "set data_path="),
        ({"run": "weak", "data": "twemojy"}, "did you mean twemoji"),
        ({"run": "weak", "judge": "mimi"}, "did you mean mini"),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(
    runs: Path, judge: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluate(options(runs, judge, tmp_path, **changes))


def test_noise_follows_the_words() -> None:
    assert noise_seed("a cat", 0, 0) == noise_seed("a cat", 0, 0) != noise_seed("a cat", 1, 0)
