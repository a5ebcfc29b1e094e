"""`key=value` words of the commands: types, lists, help, and all mistakes at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest

from emote.cli.keywords import read_keywords, run_command
from emote.config import key
from emote.util.errors import ConfigError


class Shade(Enum):
    light = "light"
    dark = "dark"


@dataclass
class Words:
    run: str = key("which run")
    prompt: list[str] = key("what to draw", default=[])
    seed: int = key("of the first image", default=0, at_least=0)
    scale: float | None = key("null: as trained", default=None)
    transparent: bool = key("cut out", default=False)
    shade: Shade = key("of the page", default=Shade.light)


def read(*words: str) -> Words:
    return read_keywords(Words, list(words))


def test_values_have_their_types():
    got = read("run=a=b", "seed=7", "scale=0.5", "transparent=true", "shade=dark")
    assert got == Words("a=b", [], 7, 0.5, True, Shade.dark)
    assert read("run=x", "scale=null").scale is None


def test_a_list_is_bracketed_or_said_several_times_and_text_keeps_its_punctuation():
    assert read("run=x", "prompt=[a cat, a dog]").prompt == ["a cat", "a dog"]
    assert read("run=x", "prompt=a cat, sitting: on {it}", "prompt=a dog").prompt == [
        "a cat, sitting: on {it}",
        "a dog",
    ]
    for said in (
        '["a cat, sitting", "a \\"dog\\""]',
        """['a cat, sitting', 'a "dog"']""",
        """[ 'a cat, sitting' , 'a "dog"']""",
    ):
        assert read("run=x", f"prompt={said}").prompt == ["a cat, sitting", 'a "dog"']
    assert read("run=x", "prompt=[a cat's face, 'tis]").prompt == ["a cat's face", "'tis"]
    assert read("run=x", "prompt=[]").prompt == [] and read("run=x", "prompt=[1, 2]").prompt == ["1", "2"]


def test_every_mistake_is_told_with_key_rule_value_and_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        read("promt=a", "seed=-1", "scale=big", "transparent=False?", "shade=drak", "hello")
    text = str(caught.value)
    for line in ("unknown key promt; did you mean prompt=?", "seed must be at least 0, got -1",
                 "scale must be a number, got big", "transparent must be true or false, got False?",
                 "shade must be one of light, dark, got drak; did you mean dark?", "hello is not key=value",
                 "run must be given: which run; set run=…"):  # fmt: skip
        assert line in text
    assert text.startswith("7 mistakes")


def test_a_command_exits_2_for_a_mistake_and_explains_itself(capsys):
    assert run_command(Words, lambda words: 0, "Draw.", ["ruin=x", "seed=x"]) == 2
    assert capsys.readouterr().err.startswith("error: 3 mistakes")
    assert run_command(Words, lambda words: 0, "Draw.", ["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Draw.") and "of the first image" in out and "  transparent  false  " in out
    assert run_command(Words, lambda words: None, "Draw.", ["run=x"]) == 0
