from __future__ import annotations

import re

from emote.packs.names import shortcodes

SAFE = re.compile(r"[a-z0-9_]{2,32}")
AWKWARD = [
    "",
    " ",
    "x",
    "🧚",
    "👩🏽‍🚀🏳️‍🌈",
    "قطة حمراء",
    "\u202eevil\u202c right to left",
    "<script>alert('x')</script>",
    "../../etc/passwd",
    "con:*?|",
    "word " * 2000,
    "x" * 10_000,
    "Crème brûlée",
    "e\u0301" * 300,
    "\ud800 alone",
    "line\nbreak\tand\0zero",
    "__",
    "7",
]


def test_every_prompt_gets_a_name_that_platforms_take() -> None:
    names = shortcodes(AWKWARD)
    assert [name for name in names if not SAFE.fullmatch(name)] == []
    assert len(set(names)) == len(AWKWARD)


def test_names_say_what_the_prompt_says() -> None:
    assert shortcodes(["a very happy robot", "Crème brûlée!", "🦊 with a hat"]) == [
        "very_happy_robot", "creme_brulee", "fox_with_a_hat",
    ]  # fmt: skip
    assert shortcodes(["an extraordinarily long description of a cat"]) == ["extraordinarily_long_description"]


def test_equal_names_are_counted_up_and_never_meet_a_name_that_is_there() -> None:
    assert shortcodes(["a red fox", "red fox", "red fox 2", "Red fox!"]) == [
        "red_fox", "red_fox_2", "red_fox_2_2", "red_fox_3",
    ]  # fmt: skip
    many = shortcodes(["word " * 20] * 120)
    assert len(set(many)) == 120 and all(SAFE.fullmatch(name) for name in many)


def test_the_same_prompts_give_the_same_names() -> None:
    assert shortcodes(AWKWARD) == shortcodes(AWKWARD)
    assert shortcodes(["قطة"]) == shortcodes(["قطة"]) != shortcodes(["كلب"])


def test_names_of_standard_emoji_are_not_taken() -> None:
    assert shortcodes(["fairy", "a fairy", "robot"]) == ["fairy_emote", "fairy_emote_2", "robot_emote"]
