from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emote.cli.keywords import read_keywords
from emote.tools.cutout_eval.measure import Shown, _score, choose, score_art, summarise
from emote.tools.cutout_eval.report import Options, evaluate
from emote.util.errors import ConfigError


def rgba(alpha: np.ndarray, grey: int = 255) -> Image.Image:
    pixels = np.full((*alpha.shape, 4), grey, np.uint8)
    pixels[..., 3] = alpha
    return Image.fromarray(pixels, "RGBA")


def test_the_figures_are_those_of_a_case_counted_by_hand() -> None:
    truth, cut = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    truth[:2], cut[1:3] = 255, 255  # a row lost, a row kept, a row right
    item = choose("twemoji", 1)[0]
    one = _score(item, Shown(Image.new("RGB", (4, 4)), rgba(cut), rgba(truth)))
    assert (one.error, one.lost, one.kept, one.iou) == (0.5, 0.25, 0.25, pytest.approx(1 / 3))
    assert one.over_black == 0.5
    right = _score(item, Shown(Image.new("RGB", (4, 4)), rgba(truth), rgba(truth)))
    assert (right.error, right.iou, right.over_black) == (0, 1, 0)
    both = summarise([one, right])
    assert (both.error, both.error_median, both.iou, both.within) == (0.25, 0.25, pytest.approx(2 / 3), 0.5)
    assert not both.meets_goal and summarise([right]).meets_goal


def test_the_choice_is_always_the_same_and_fewer_are_among_more() -> None:
    few, more = ([item.name for item in choose("openmoji", count)] for count in (5, 20))
    assert few == more[:5] and len(set(more)) == 20


@pytest.mark.parametrize("style", ["openmoji", "twemoji"])
def test_art_over_green_is_cut_out_nearly_without_error(style: str) -> None:
    summary = summarise([one for one, _ in score_art(style, 12, 64, "#00b140", told="auto")])
    assert summary.images == 12 and summary.error < 0.004 and summary.iou > 0.98 and summary.over_black < 0.004


def test_a_table_the_worst_and_a_summary_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["n=3", "size=32", "sources=[twemoji]", "backgrounds=[white, #00b140]", f"output={tmp_path}"]
    assert evaluate(read_keywords(Options, words)) == 0
    said = capsys.readouterr().out
    assert "twemoji" in said and "kept" in said and str(tmp_path / "worst-twemoji-00b140.png") in said
    report = json.loads((tmp_path / "summary.json").read_text())
    assert [row["background"] for row in report["rows"]] == ["white", "#00b140"]
    with Image.open(tmp_path / "worst-twemoji-white.png") as sheet:
        assert sheet.width > 3 * 144


def test_mistakes_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate(read_keywords(Options, ["sources=[emojione]", "backgrounds=[whit, auto]", "vae=nowhere"]))
    for part in ("sources must be of openmoji, twemoji, got emojione", "a CSS colour such as white", "got auto",
                 "vae must be a diffusers directory"):  # fmt: skip
        assert part in str(caught.value)
