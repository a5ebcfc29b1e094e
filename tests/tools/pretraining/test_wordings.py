from __future__ import annotations

from emote.data.naming import catalogue
from emote.tools.pretraining.wordings import MAX_WORDINGS, list_wordings, write_caption

CATS = {"grinning cat": ("smiley cat",), "cat": (), "cat face": ("cat",), "robot": ()}


def test_a_cat_is_asked_for_in_many_ways() -> None:
    found = list_wordings(CATS, {"grinning cat": ("happy", "funny", "cat"), "cat face": ("cat", "kitten")})
    assert found["grinning cat"][0] == "grinning cat"
    assert {"smiley cat", "happy cat", "cat, grinning", "cat, happy"} <= set(found["grinning cat"])
    assert "kitten" in found["cat face"]


def test_no_wording_is_another_emojis_name() -> None:
    assert "cat" not in list_wordings(CATS, {})["cat face"]


def test_keywords_that_many_share_stand_for_none() -> None:
    keywords = dict.fromkeys(CATS, ("thing",))
    assert all("thing" not in found for found in list_wordings(CATS, keywords).values())


def test_every_emoji_has_its_name_first_and_not_too_many_wordings() -> None:
    found = list_wordings(dict(catalogue().values()), {})
    assert all(wordings[0] == name and len(set(wordings)) == len(wordings) for name, wordings in found.items())
    assert max(map(len, found.values())) <= MAX_WORDINGS
    assert all(len(found[name]) >= 1 and all(found[name]) for name in found)


def test_captions_have_articles_and_styles() -> None:
    assert write_caption("fairy", 0) == "fairy"
    assert write_caption("fairy", 1, "noto") == "An emoji of fairy, noto style"
    assert write_caption("ant", 2) == "An emoji of an ant"
