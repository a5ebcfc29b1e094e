from __future__ import annotations

from pathlib import Path

import pytest

from emote.inference.prompt_template import choose_template, in_template, read_prompts
from emote.util.errors import ConfigError

OPENMOJI = "An emoji of {text}, openmoji style"


def test_the_run_s_own_template_is_used_unless_another_or_none_is_asked_for() -> None:
    assert choose_template("auto", OPENMOJI) == OPENMOJI
    assert (
        choose_template("auto", None) is choose_template("none", OPENMOJI) is choose_template("auto", "{text}") is None
    )
    assert choose_template("A sticker of {text}", OPENMOJI) == "A sticker of {text}"
    with pytest.raises(ConfigError, match=r"template must be auto, none or a text with \{text\}, got automatic"):
        choose_template("automatic", OPENMOJI)


@pytest.mark.parametrize(
    ("typed", "template", "words"),
    [
        ("a fairy", OPENMOJI, "An emoji of a fairy, openmoji style"),
        ("a fairy", None, "a fairy"),
        ("An emoji of fairy, openmoji style", OPENMOJI, "An emoji of fairy, openmoji style"),
        ("an  emoji of a fairy in a forest", OPENMOJI, "an  emoji of a fairy in a forest"),
        ("an emoji offering tea", OPENMOJI, "An emoji of an emoji offering tea, openmoji style"),
        ("a fairy in pixel art", "{text} in pixel art", "a fairy in pixel art"),
        ("a fairy", "{text} in pixel art", "a fairy in pixel art"),
        ("{style}", OPENMOJI, "An emoji of {style}, openmoji style"),
    ],
)
def test_a_prompt_goes_into_the_template_unless_it_has_its_words(typed: str, template: str | None, words: str) -> None:
    assert in_template(typed, template) == words


def test_a_file_of_prompts_has_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "ideas.txt"
    file.write_bytes("\ufeff# animals\na cat, sitting\n\n  a fox  \r\n # no\nقطة\n".encode())
    assert read_prompts(file) == ["a cat, sitting", "a fox", "قطة"]


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing yet\n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, words in {"empty": "has no prompts", "latin": "UTF-8", "absent": "not there"}.items():
        with pytest.raises(ConfigError, match=words):
            read_prompts(tmp_path / f"{name}.txt")
