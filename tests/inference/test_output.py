from __future__ import annotations

from pathlib import Path

import pytest

from emote.inference.output import Output, slug
from emote.util.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A red heart!", "a-red-heart"),
        ("Crème brûlée", "creme-brulee"),
        ("../../etc/passwd", "etc-passwd"),
        ("قطة", "image"),
        ("🧑🏽‍🚀", "image"),
        ("", "image"),
        ("x" * 500, "x" * 40),
    ],
)
def test_any_words_give_a_safe_name(text: str, name: str) -> None:
    assert slug(text) == name


def test_every_time_there_is_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = Output(None, "a-cat").path("one.png")
    assert str(first) == "generated/001-a-cat/one.png"
    second = Output(None, "a-dog")
    assert (
        str(second.path("one.png")) == "generated/002-a-dog/one.png" == str(second.path("two.png").with_name("one.png"))
    )
    (tmp_path / "generated" / "041-mine").mkdir()
    assert str(Output(None, "a-cat").path("one.png")) == "generated/042-a-cat/one.png"


def test_no_folder_is_made_before_there_is_something_to_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Output(None, "a-cat").check(["one.png"])
    Output(tmp_path / "there", "a-cat").check(["one.png"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "one.png").touch()
    output = Output(tmp_path, "a-cat")
    output.check(["two.png"])
    with pytest.raises(ConfigError, match=r"has one\.png already"):
        output.check(["one.png", "two.png"])
    with pytest.raises(ConfigError, match="is a file"):
        Output(tmp_path / "one.png", "a-cat").check(["two.png"])
