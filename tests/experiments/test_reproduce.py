from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from emote.experiments.overrides import run_experiments
from emote.experiments.reproduce import ReproduceOptions, compose_each, reproduce
from emote.util.errors import ConfigError

TITLE = "| reported "


@pytest.fixture(scope="module")
def reproduced(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the corrected run against the reported one, on the tiny model."""
    runs = tmp_path_factory.mktemp("runs")
    return reproduce(
        ReproduceOptions(against=["reported"]), ["experiment=stable_emote", *tiny_words, f"run.dir={runs}"]
    )


def test_the_table_and_its_data_lie_beside_the_deliverables(reproduced: Path) -> None:
    assert reproduced.name == "reproduction.md" and (reproduced.parent / "summary.json").exists()
    text = reproduced.read_text(encoding="utf-8")
    for what in ("optimizer steps", "first 3 steps", "last 3 steps", "seconds a step", "hours", "peak memory",
                 "precision asked for", "precision used"):  # fmt: skip
        assert f"| {what}" in text or f"of the {what}" in text, what
    assert "0.06776419" in text and "github.com/SurAyush/StableEmote" in text


def test_the_measured_figures_are_those_of_the_run(reproduced: Path) -> None:
    told = json.loads((reproduced.parent / "reproduction.json").read_text())
    summary = json.loads((reproduced.parent / "summary.json").read_text())
    found = {line["what"]: line for line in told["figures"]}
    assert found["optimizer steps"]["measured"] == 3 and found["optimizer steps"]["difference"] == 3 - 4500
    first = found["training loss, mean of the first 3 steps"]
    assert first["measured"] == pytest.approx(summary["train_loss"]["first_500_mean"])
    assert first["difference"] == pytest.approx(first["measured"] - 0.06776419)
    assert found["seconds a step (median)"]["measured"] == summary["seconds_per_step"]
    assert found["precision asked for"]["measured"].startswith("auto") and found["peak memory (host)"]["measured"] > 0


def test_what_differs_from_the_reported_recipe_is_named(reproduced: Path) -> None:
    told = json.loads((reproduced.parent / "reproduction.json").read_text())["differs"]
    assert told["lora.dtype"] == {"reported": "bfloat16", "here": "float32"}
    assert told["trainer.max_grad_norm"] == {"reported": "None", "here": "1.0"}
    assert told["trainer.max_steps"] == {"reported": "4500", "here": "3"}
    assert "lora.rank" not in told and "run.dir" not in told


def test_both_runs_are_compared_image_by_image(reproduced: Path) -> None:
    told = json.loads((reproduced.parent / "reproduction.json").read_text())["held_out_loss"]
    assert set(told["to_base"]) == {"stable_emote", "reported"} and set(told["to_others"]) == {"reported"}
    paired, base = told["to_others"]["reported"], told["to_base"]
    assert paired["items"] > 1 and len(paired["interval_95"]) == 2
    assert paired["difference"] == pytest.approx(base["stable_emote"]["final"] - base["reported"]["final"])
    assert base["stable_emote"]["base"] == base["reported"]["base"]  # one base for both, though one run was in bf16


def test_the_sheets_of_both_runs_are_named(reproduced: Path) -> None:
    told = json.loads((reproduced.parent / "reproduction.json").read_text())["sheets"]
    assert set(told) == {"stable_emote", "reported"}
    assert all((reproduced.parent / sheet).exists() for sheet in told.values())


def test_the_reported_run_learns_in_bf16_and_the_corrected_one_in_float32(reproduced: Path) -> None:
    runs = reproduced.parents[3]
    dtypes = {}
    for name in ("reported", "stable_emote"):
        (path,) = runs.glob(f"{name}-*/checkpoints/000003.ckpt")
        saved = torch.load(path, weights_only=True)
        moments = saved["optimizer_states"][0]["state"].values()
        dtypes[name] = ({t.dtype for t in saved["state_dict"].values()}, {state["exp_avg"].dtype for state in moments})
        (summary,) = runs.glob(f"{name}-*/steps/000003/summary.json")
        precision = json.loads(summary.read_text())["precision"]
        assert precision["adapter"] == ("bfloat16" if name == "reported" else "float32")
        assert precision["frozen"] == ("bfloat16" if name == "reported" else "float32")
    assert dtypes["reported"] == ({torch.bfloat16}, {torch.bfloat16})
    assert dtypes["stable_emote"] == ({torch.float32}, {torch.float32})


def test_said_again_nothing_is_run_again(
    reproduced: Path, tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment=stable_emote", *tiny_words, f"run.dir={reproduced.parents[3]}"]
    before = reproduced.read_text()
    assert reproduce(ReproduceOptions(against=["reported"]), words) == reproduced
    assert capsys.readouterr().out.count("finished already") == 2
    assert reproduced.read_text() == before


def test_experiments_about_other_images_are_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match=r"cannot be compared[^$]*data\.caption"):
        compose_each(["experiment=reported", "twin=mini"], ["style/twemoji"])
    with pytest.raises(ConfigError, match="experiment= must be said once"):
        compose_each(["twin=mini"], [])
    with pytest.raises(ConfigError, match="each once"):
        compose_each(["experiment=reported"], ["reported"])


def test_words_that_are_no_key_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> str:
        assert run_experiments(ReproduceOptions, reproduce, "about", list(words)) == 2
        return capsys.readouterr().err

    assert call("experiment=reported", "againts=best") == "error: unknown key againts; did you mean against=?\n"
    assert call("experiment=reported", "lora.rnak=8").startswith(
        "error: unknown key lora.rnak; did you mean lora.rank?"
    )
    assert "is not key=value" in call("experiment=reported", "-m")
    assert "experiment must be one of" in call("experiment=reported", "against=nope")
    assert run_experiments(ReproduceOptions, reproduce, "about", ["--help"]) == 0
    assert "  against  " in capsys.readouterr().out
