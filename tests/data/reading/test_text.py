from __future__ import annotations

import json

import pytest

from emote.data.reading.text import decode_text, join_lines, name_emoji, text_in_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_text_is_read_in_the_encodings_that_people_save(encoding: str) -> None:
    text = "a red cat, na\u00efve"
    assert decode_text(text.encode(encoding))[0] == text


def test_the_encoding_is_told() -> None:
    assert [decode_text("\u00e9t\u00e9".encode(name))[1] for name in ("utf-8", "cp1252", "utf-16")] == [
        "utf-8",
        "cp1252",
        "utf-16",
    ]


@pytest.mark.parametrize(
    "data", [bytes(range(256)), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfe\xff", b"\x81\x8d\x8f"]
)
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_text(data)


def test_lines_are_joined_and_nothing_is_lost() -> None:
    assert join_lines("tag one\ntag two\n\ntag three\n") == ("tag one, tag two, tag three", 3)
    assert join_lines("A cat.\r\nIt is red") == ("A cat. It is red", 2)
    assert join_lines("  one  line ") == ("one  line", 1)  # inner spaces are the author's


@pytest.mark.parametrize("value", [{"caption": "a cat"}, {"prompt": "a cat"}, {"words": "a cat", "caption": "no"}])
def test_a_caption_in_json_is_found(value: object) -> None:
    assert text_in_json(json.dumps(value), "words") == "a cat"


def test_json_tags_are_a_caption_and_braces_are_text() -> None:
    assert text_in_json('["cat", "red"]', "text") == "cat, red"
    assert text_in_json("{red|blue} cat", "text") is None and text_in_json("[cat] in a box", "text") is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\U0001f600", "grinning face"),
        ("hi \U0001f600\U0001f44d\U0001f3fd there!", "hi grinning face, thumbs up, medium skin tone there!"),
        ("\U0001f600\U0001f600\U0001f600", "grinning face"),
        ("\u2764\ufe0f", "red heart"),
        ("\u00a9 cat\u2122", "\u00a9 cat\u2122"),
        (":party_parrot:", "party parrot"),
        ("na\u00efve  cat", "na\u00efve  cat"),
    ],
)
def test_emoji_become_their_names(text: str, named: str) -> None:
    assert name_emoji(text) == named
