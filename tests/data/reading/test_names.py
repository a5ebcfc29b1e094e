from __future__ import annotations

import pytest

from emote.data.reading.names import any_codepoints, repeats_of, words_of


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("party_parrot", "party parrot"),
        ("PartyParrot", "party parrot"),
        ("HTMLCat", "html cat"),
        ("party-parrot (2)", "party parrot"),
        ("Crying_Cat copy", "crying cat"),
        ("cat2", "cat"),
        ("kitty@2x", "kitty"),
        ("smile-128x128", "smile"),
        ("blob_wave_900000000000000001", "blob wave"),
        ("emoji_u1f600", "grinning face"),
        ("1F600", "grinning face"),
        ("1f468-200d-1f373", "man cook"),
        ("\U0001f600", "grinning face"),
        ("thumbs_up_medium_skin_tone", "thumbs up, medium skin tone"),
        ("caf\u00e9_au_lait", "café au lait"),
        ("\u306d\u3053", "ねこ"),
        ("8ball", "8ball"),
    ],
)
def test_names_become_words(stem: str, words: str) -> None:
    assert words_of(stem) == words


@pytest.mark.parametrize(
    "stem", ["0001", "IMG_20240101_123456", "DSC01234", "sticker_0", "900000000000000001", "a1b2c3d4e5f6",
             "Screenshot (3)", "WhatsApp Image 2024-01-01", "untitled", "PXL_20240101"],
)  # fmt: skip
def test_names_that_say_nothing_have_no_words(stem: str) -> None:
    assert words_of(stem) == ""


def test_a_number_is_an_emoji_only_among_code_points() -> None:
    assert words_of("2600") == "" and words_of("2600", codepoints=True) == "sun"
    assert any_codepoints(["2600", "1f600"]) and not any_codepoints(["2600", "2601", "face"])


def test_kohyas_folders_say_how_often_and_what() -> None:
    assert repeats_of(["set", "20_grumpy cat"]) == (20, "grumpy cat")
    assert repeats_of(["2023_holiday"]) is None  # a year
    assert repeats_of(["cats", "0_x"]) is None
