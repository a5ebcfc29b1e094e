from __future__ import annotations

import json

from emote.data.reading.exports import export_rows
from emote.data.reading.lookup import Lookup


def rows(value: object, *names: str, path: str = "index.json") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in export_rows(json.dumps(value).encode(), path, Lookup(names), "text"):
        found.setdefault(row.file, []).extend(row.texts)
    return found


def test_slack_has_names_and_aliases() -> None:
    emoji = {"party_cat": "https://emoji.slack-edge.com/T0/party_cat/1a.png", "parrot_cat": "alias:party_cat",
             "smiley": "alias:smile", "gone": "https://emoji.slack-edge.com/T0/gone/2b.png"}  # fmt: skip
    expected = {"party_cat.png": ["party cat", "parrot cat"]}
    assert rows({"ok": True, "emoji": emoji}, "party_cat.png") == expected
    admin = [{"name": "party_cat", "is_alias": 0, "url": "https://x/1a.png"},
             {"name": "parrot_cat", "is_alias": 1, "alias_for": "party_cat"}]  # fmt: skip
    assert rows({"emoji": admin}, "party_cat.png") == expected


def test_discord_has_numbers_for_files() -> None:
    emoji = [{"id": "900000000000000001", "name": "blobWave", "animated": True}, {"id": 12, "name": "gone"}]
    expected = {"emojis/900000000000000001.gif": ["blob wave"]}
    assert rows(emoji, "emojis/900000000000000001.gif") == expected
    assert rows({"id": "1", "name": "Our guild", "emojis": emoji}, "emojis/900000000000000001.gif") == expected


def test_telegrams_stickers_stand_in_order() -> None:
    stickers = [{"file_id": "CAAC", "emoji": "\U0001f600"}, {"file_id": "CAAD", "emoji": "\U0001f680"}]
    for first in (0, 1):
        names = [f"sticker_{first}.webp", f"sticker_{first + 1}.webp"]
        assert rows({"name": "p", "stickers": stickers}, *names) == {names[0]: ["grinning face"], names[1]: ["rocket"]}
    assert rows({"stickers": stickers}, "other_7.webp") == {}  # their places say nothing of it


def test_whatsapp_and_file_unique_ids() -> None:
    pack = {
        "sticker_packs": [{"name": "p", "stickers": [{"image_file": "01.webp", "emojis": ["\u2615", "\U0001f642"]}]}]
    }
    assert rows(pack, "01.webp") == {"01.webp": ["hot beverage, slightly smiling face"]}
    assert rows([{"file_unique_id": "AgAD", "emoji": "\U0001f680"}], "AgAD.webp") == {"AgAD.webp": ["rocket"]}


def test_kohyas_captions_by_file_name() -> None:
    captions = {"C:\\set\\a.png": {"caption": "a cat", "tags": "cat, red"}, "b": {"tags": "dog"}}
    assert rows(captions, "a.png", "b.jpg", path="meta_cap.json") == {"a.png": ["a cat"], "b.jpg": ["dog"]}


def test_json_beside_an_image_is_its_caption() -> None:
    for path in ("sub/cat.json", "sub/cat.png.json"):
        assert rows({"tags": ["cat", "red"], "score": 5}, "sub/cat.png", path=path) == {"sub/cat.png": ["cat, red"]}
        assert rows({"score": 5}, "sub/cat.png", path=path) == {}


def test_any_other_json_says_nothing() -> None:
    for value in ({"version": 1}, [1, 2], "text", {"a": {"b": [{"c": "d"}]}}, None, {"name": "x"}):
        assert rows(value, "a.png") == {}
    assert export_rows(b"{", "x.json", Lookup(["a.png"]), "text") == []
    assert export_rows(b"[" * 100_000, "x.json", Lookup(["a.png"]), "text") == []
