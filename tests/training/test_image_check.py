"""The first look at a run's images at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.images.judges import build_tiny_judge
from tests.training.test_run import summary

Runner = Callable[..., Path]
LOOK: dict[str, Any] = {"callbacks.evaluation.from_steps": 1, "callbacks.evaluation.prompts": 4}


@pytest.fixture
def tiny_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = build_tiny_judge(tmp_path)
    monkeypatch.setattr("emote.training.image_check.judge_of", lambda path: str(file))


@pytest.mark.usefixtures("tiny_judge")
def test_what_was_seen_stands_in_the_summary(tiny_run: Runner) -> None:
    found = summary(tiny_run(**LOOK))["images"]
    assert found["prompts"] == 4
    for kind in ("base", "fine_tuned", "difference"):
        assert set(found[kind]) == {"recognised_top5", "recognised_top1", "usable"}
        assert found[kind]["usable"]["concepts"] == 4
    assert 0 <= found["base"]["recognised_top5"]["value"] <= 1


@pytest.mark.usefixtures("tiny_judge")
def test_the_base_is_drawn_once_whatever_is_fine_tuned_from_it(tiny_run: Runner, monkeypatch: Any) -> None:
    from emote.training.samples import Sampler

    drawn: list[str] = []
    draw = Sampler.draw
    monkeypatch.setattr(Sampler, "draw", lambda self, module, what: drawn.append(what) or draw(self, module, what))
    one = tiny_run(**LOOK, **{"seed": 801})
    other = tiny_run(**LOOK, **{"seed": 802})
    assert [what for what in drawn if "base model, to be judged" in what] in ([], ["with the base model, to be judged"])
    assert summary(one)["images"]["base"] == summary(other)["images"]["base"]
    assert one.parent.parent != other.parent.parent


@pytest.mark.parametrize("off", [{"callbacks.evaluation.prompts": 0}, {"callbacks.evaluation.from_steps": 600}])
@pytest.mark.usefixtures("tiny_judge")
def test_it_can_be_turned_off_and_is_for_long_runs_and_the_run_is_the_same(
    tiny_run: Runner, tmp_path: Path, off: dict[str, Any]
) -> None:
    path = tiny_run(**(LOOK | off))
    assert summary(path)["images"] is None
    looked = tiny_run(**LOOK, **{"run.dir": tmp_path / "looked"})
    assert looked.parent.parent.name == path.parent.parent.name
    assert json.dumps(summary(looked)["validation_loss"]) == json.dumps(summary(path)["validation_loss"])


def test_where_there_is_nobody_to_judge_the_run_ends_well(tiny_run: Runner, capsys: Any) -> None:
    path = tiny_run(**LOOK)
    assert summary(path)["images"] is None
    assert (
        "images are not judged: judge: openai/clip-vit-base-patch32 is not on this machine" in capsys.readouterr().out
    )
