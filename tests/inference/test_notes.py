from __future__ import annotations

import pytest

from emote.inference.prompt_template import SIGNS


@pytest.mark.parametrize(
    "prompt",
    ["a (robot:1.3)", "(robot: .5)", "((robot))", "a cat BREAK a dog", "a AND b", "<lora:x:1>", "[cat:dog:0.5]"],
)
def test_signs_of_other_programs_are_seen(prompt: str) -> None:
    assert SIGNS.search(prompt)


@pytest.mark.parametrize("prompt", ["a robot (happy)", "break and enter", "ratio 1:3", "a cat, a dog", "<3", "a [cat]"])
def test_plain_words_are_plain(prompt: str) -> None:
    assert not SIGNS.search(prompt)
