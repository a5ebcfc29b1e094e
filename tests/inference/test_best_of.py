from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emote.data.images import Layout, decode, lay_out
from emote.inference.best_of import PromptJudge, Scored, keep
from emote.inference.job import generate
from emote.inference.options import Options
from emote.inference.plan import plan_images
from emote.util.errors import ConfigError


def test_those_that_are_recognised_are_kept_and_the_best_where_none_is() -> None:
    seen, unseen = [Scored(2, 1), Scored(0, 5), Scored(1, 6)], [Scored(1, 9), Scored(0, 30)]
    assert keep(seen) == seen[:2] and keep(unseen) == unseen[:1] and keep([]) == []


def test_a_drawing_of_the_prompt_is_before_one_of_something_else() -> None:
    from emote.data.art import art_files

    files = art_files("twemoji")
    images = [lay_out(decode(files[code].read_bytes(), 128), Layout(128)) for code in ("2764", "1F40D")]
    scored = PromptJudge("weights/mini", "cpu").rank("a snake", images)
    assert [found.index for found in scored] == [1, 0] and scored[0].recognised


def test_the_kept_ones_are_written_and_every_score_is_said(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emote.inference.best_of.judge_of", lambda path: "mini")
    words = {"run": "tiny", "prompts": ["cat"], "best_of": 3, "inference_steps": 2, "runs_dir": str(runs)}
    assert generate(Options(**words, output=str(tmp_path / "out"))) == 0
    text = capsys.readouterr().out
    assert text.count("at 32 px") == 3
    written = sorted(file.name for file in (tmp_path / "out").glob("cat-*.png"))
    assert len(written) == 3 - text.count("left out") >= 1
    assert np.all([f"seed{seed}" in " ".join(written) or f"seed {seed}" in text for seed in range(3)])


def test_it_says_nothing_beside_a_comparison(runs: Path) -> None:
    with pytest.raises(ConfigError, match="best_of says nothing beside"):
        plan_images(Options(run="tiny", prompts=["cat"], best_of=3, compare=True, runs_dir=str(runs)))
