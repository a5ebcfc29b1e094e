from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from emote.data.art import art_files
from emote.data.images import Layout, to_pixels
from emote.data.item import Item, Skipped
from emote.data.naming import catalogue, concept_of
from emote.data.sources import open_source
from emote.util.errors import ConfigError
from tests.data.helpers import SVG, bytes_of, data_config, drawn, encoded, listed, write_folder


def reasons(skipped: list[Skipped]) -> dict[str, str]:
    return {item.name: item.reason for item in skipped}


def captions(items: list[Item]) -> dict[str, str]:
    return {item.name: item.caption for item in items}


def jsonl(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


# Art sets


@pytest.mark.parametrize("style", ["openmoji", "twemoji"])
def test_art_is_captioned_by_the_template(style: str) -> None:
    items, skipped = listed(data_config(style, caption="An emoji of {text}, {style} style"))
    assert len(items) > 3000 and not skipped
    by_caption = {item.caption: item for item in items}
    astronaut = by_caption[f"An emoji of astronaut, medium skin tone, {style} style"]
    assert astronaut.concept == "astronaut"
    assert to_pixels(astronaut.read(), Layout(16)).shape == (16, 16, 3)


def test_both_art_sets_draw_nearly_every_emoji() -> None:
    both = set(art_files("openmoji")) & set(art_files("twemoji")) & set(catalogue())
    assert len(both) > 0.95 * len(catalogue())


def test_skin_tone_hair_and_gender_are_no_concepts_of_their_own() -> None:
    names = [
        "astronaut",
        "woman astronaut",
        "man astronaut, dark skin tone",
        "An emoji of man astronaut, twemoji style",
    ]
    assert {concept_of(name) for name in names} == {"astronaut"}
    assert concept_of("red heart") != concept_of("blue heart")


# Folders


def test_a_folder_takes_captions_from_sidecars(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "001.txt").write_text("\ufeff  a second  \n\n seen from the left.\nIt is red\n", encoding="utf-8")
    items, skipped = listed(data_config(path=tmp_path, caption="An emoji of {text}"))
    assert not skipped
    assert [item.name for item in items] == ["000.png", "001.png", "002.png"]
    assert items[1].caption == "An emoji of a second, seen from the left. It is red"
    assert items[1].concept == "a second seen from the left it is red"
    assert items[1].read() == bytes_of(1)


def test_braces_in_a_caption_are_text(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "000.txt").write_text("a {text} {0}")
    assert captions(listed(data_config(path=tmp_path))[0]) == {"000.png": "a {text} {0}"}


def test_every_kind_of_image_in_every_subdirectory_is_found(tmp_path: Path) -> None:
    names = ["a.png", "B.JPG", "c.webp", "d/e.gif", "d/f/g.svg", "d/f/h.bmp", "i.tiff"]
    for name in [*names, "notes.md", ".hidden.png", ".git/x.png", "__MACOSX/y.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {".jpg": "JPEG", ".tiff": "TIFF"}
        kind = kinds.get(path.suffix.lower(), path.suffix[1:].upper())
        path.write_bytes(SVG.encode() if kind in ("SVG", "MD") else encoded(drawn(0), kind))
        path.with_suffix(".txt").write_text(name)
    items, skipped = listed(data_config(path=tmp_path))
    assert [item.name for item in items] == sorted(names) and not skipped


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_folder_takes_captions_from_metadata(tmp_path: Path, kind: str) -> None:
    for name in ("a.png", "sub/b.png", "sub/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes_of(0))
    if kind == "jsonl":
        jsonl(
            tmp_path / "metadata.jsonl",
            {"file_name": "a.png", "words": "one, two"},
            {"file_name": "./sub/b.png", "words": "b"},
        )
        jsonl(tmp_path / "sub/metadata.jsonl", {"file_name": "deep/c.png", "words": "c"})
    else:
        (tmp_path / "metadata.csv").write_text(
            '\ufefffile_name,words\na.png,"one, two"\nsub/b.png,b\n', encoding="utf-8"
        )
        (tmp_path / "sub/metadata.csv").write_text("words,file_name\r\nc,deep/c.png\r\n")
    items, skipped = listed(data_config(path=tmp_path, text_column="words"))
    assert captions(items) == {"a.png": "one, two", "sub/b.png": "b", "sub/deep/c.png": "c"} and not skipped


def test_metadata_goes_before_sidecars_and_sidecars_fill_its_gaps(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "000.png", "text": "named"})
    assert captions(listed(data_config(path=tmp_path))[0]) == {"000.png": "named", "001.png": "image 1"}


def test_a_image_with_two_captions_is_two_items(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    jsonl(tmp_path / "metadata.jsonl", *({"file_name": "000.png", "text": text} for text in ("a", "b")))
    assert [item.caption for item in listed(data_config(path=tmp_path))[0]] == ["a", "b"]


def test_names_with_accents_match_however_they_are_encoded(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.png").write_bytes(bytes_of(0))
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "caf\u00e9.png", "text": "coffee"})
    items, skipped = listed(data_config(path=tmp_path))
    assert [item.caption for item in items] == ["coffee"] and not skipped


def test_what_has_no_caption_is_left_out_with_the_reason(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    (tmp_path / "000.txt").unlink()
    (tmp_path / "001.txt").write_text(" \n")
    (tmp_path / "002.txt").write_bytes(b"\xff\xfe\xff")  # half of a character
    jsonl(
        tmp_path / "metadata.jsonl",
        {"file_name": "gone.png", "text": "gone"},
        {"file_name": "003.txt", "text": "no image"},
        {"file_name": "../000.png", "text": "outside"},
    )
    items, skipped = listed(data_config(path=tmp_path))
    assert [item.name for item in items] == ["003.png"]
    found = reasons(skipped)
    assert found["000.png"].startswith("no caption")
    assert found["001.png"] == "its caption is empty"
    assert found["002.png"].startswith("its text file cannot be read")
    assert found["gone.png"] == "named by metadata.jsonl line 1, but there is no such file"
    assert "no kind of image" in found["003.txt"] and "no such file" in found["../000.png"]


@pytest.mark.parametrize("text", [None, "", "  "])
def test_an_empty_caption_in_metadata_is_left_out(tmp_path: Path, text: str | None) -> None:
    write_folder(tmp_path, 1)
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "000.png", "text": text})
    items, skipped = listed(data_config(path=tmp_path))
    assert not items and reasons(skipped) == {"000.png": "its caption is empty"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "000.png", "text": "a"}\n{"file_name": ',
            r"metadata\.jsonl line 2 is not JSON",
        ),
        ("metadata.jsonl", '\n["000.png", "a"]\n', r"metadata\.jsonl line 2 must be an object"),
        (
            "metadata.jsonl",
            '{"name": "000.png", "text": "a"}\n',
            r"line 1 must name an image in file_name; it has name",
        ),
        ("metadata.jsonl", '{"file_name": "000.png", "text": 5}\n', r"line 1: text must be text, got 5"),
        ("metadata.jsonl", '{"file_name": "000.png", "text": "\\ud83d"}\n', r"line 1: text holds half a character"),
        ("metadata.jsonl", '{"file_name": "000.png", "words": "a"}\n', r"no column text .* it has file_name, words"),
        (
            "metadata.csv",
            "file_name,words\n000.png,a\n",
            r"metadata\.csv has no column text .* it has file_name, words",
        ),
        ("metadata.csv", "file_name,text\n000.png,a, b\n", r"metadata\.csv line 2 has 3 fields, its header 2"),
        ("metadata.csv", "file_name,text\n000.png\n", r"metadata\.csv line 2 has 1 fields, its header 2"),
        ("metadata.csv", 'file_name,text\n000.png,"a\n', r"metadata\.csv line 2 is not CSV"),
        ("metadata.csv", "name,text\n000.png,a\n", r"line 2 must name an image in file_name"),
        ("metadata.csv", "", r"metadata\.csv has no column text .* it has none"),
        ("metadata.csv", b"file_name,text\n000.png,caf\x81\n", r"metadata\.csv is not text in UTF-8"),
    ],
)
def test_malformed_metadata_is_an_error_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        open_source(data_config(path=tmp_path))


def test_two_kinds_of_metadata_in_one_directory_are_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "000.png", "text": "a"})
    (tmp_path / "metadata.csv").write_text("file_name,text\n000.png,b\n")
    with pytest.raises(ConfigError, match="keep one"):
        open_source(data_config(path=tmp_path))


def test_a_directory_that_is_wrong_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(bytes_of(0))
    for path, message in (
        (None, r"set data\.path=…"),
        (tmp_path / "none", r"does not exist; set data\.path="),
        (tmp_path / "empty", r"holds no images \(no files\); put files such as \.png"),
        (tmp_path / "file.png", r"is a file; set data\.path="),
    ):
        with pytest.raises(ConfigError, match=message):
            open_source(data_config(path=path))


# The Hub


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write_hub(directory: Path, rows: dict[str, list], features: object = None) -> Path:
    import datasets

    (directory / "data").mkdir(parents=True)
    kinds = features or datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(str(directory / "data/train-00000-of-00001.parquet"))
    return directory


@pytest.mark.usefixtures("hub_cache")
def test_a_set_in_the_hubs_layout_is_read_undecoded(tmp_path: Path) -> None:
    images = [{"bytes": bytes_of(n), "path": f"{n}.png"} for n in range(4)]
    path = write_hub(tmp_path / "set", {"image": images, "text": ["a cat", "", None, " a dog "]})
    items, skipped = listed(data_config("hub", path=path, caption="An emoji of {text}"))
    assert captions(items) == {"train[0]": "An emoji of a cat", "train[3]": "An emoji of a dog"}
    assert [item.concept for item in items] == ["a cat", "a dog"]
    assert items[1].read() == bytes_of(3)
    assert reasons(skipped) == {"train[1]": "its caption is empty", "train[2]": "its caption is empty"}


@pytest.mark.usefixtures("hub_cache")
def test_a_broken_image_of_the_hub_breaks_nothing_else(tmp_path: Path) -> None:
    images = [{"bytes": b"broken", "path": None}, {"bytes": bytes_of(1), "path": None}, None]
    path = write_hub(tmp_path / "set", {"image": images, "text": ["a", "b", "c"]})
    items, _ = listed(data_config("hub", path=path))
    assert [items[0].read(), items[1].read()] == [b"broken", bytes_of(1)]
    with pytest.raises(OSError, match="no image"):
        items[2].read()


@pytest.mark.usefixtures("hub_cache")
def test_columns_of_plain_bytes_are_read(tmp_path: Path) -> None:
    import datasets

    kinds = datasets.Features({"png": datasets.Value("binary"), "words": datasets.Value("string")})
    path = write_hub(tmp_path / "set", {"png": [bytes_of(0)], "words": ["a"]}, kinds)
    items, _ = listed(data_config("hub", path=path, image_column="png", text_column="words"))
    assert items[0].read() == bytes_of(0)


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text_column": "caption"}, r"data\.text_column=caption is not a column .* it has image, text, size"),
        ({"image_column": "png"}, r"data\.image_column=png is not a column .* it has image, text, size"),
        ({"image_column": "size"}, r"data\.image_column=size .* holds no images"),
        ({"text_column": "size"}, r"data\.text_column=size .* holds int, not text"),
        ({"split": "test"}, r"data\.split=test cannot be had"),
    ],
)
def test_what_a_set_lacks_is_named(tmp_path: Path, values: dict[str, str], message: str) -> None:
    import datasets

    value = datasets.Value
    kinds = datasets.Features({"image": datasets.Image(), "text": value("string"), "size": value("int64")})
    image = {"bytes": bytes_of(0), "path": None}
    path = write_hub(tmp_path / "set", {"image": [image], "text": ["a"], "size": [1]}, kinds)
    with pytest.raises(ConfigError, match=message):
        open_source(data_config("hub", path=path, **values))


@pytest.mark.usefixtures("hub_cache")
def test_a_set_out_of_reach_is_told_in_two_lines_with_what_works_instead() -> None:
    with pytest.raises(ConfigError) as error:
        open_source(data_config("hub", path="valhalla/emoji-dataset"))
    message = str(error.value)
    assert "valhalla/emoji-dataset is not on this machine, and the Hub cannot be reached" in message
    assert "python train.py experiment=quickstart" in message and len(message.splitlines()) <= 2


def test_without_a_network_the_library_does_not_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    seen = []

    def load(*_: object, **__: object) -> None:
        seen.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))
        raise ConnectionError("offline")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="cannot be reached"):
        open_source(data_config("hub", path="someone/images"))
    assert seen == [(True, True)] and not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(
    ("kind", "said", "message"),
    [
        (
            "DatasetNotFoundError",
            "Dataset 'a/b' doesn't exist on the Hub or cannot be accessed.",
            "is no data set on the Hub",
        ),
        ("DatasetNotFoundError", "Dataset 'a/b' is a gated dataset on the Hub.", "is gated: accept its terms"),
        ("ValueError", "Loading a/b requires trust_remote_code=True", "cannot be loaded"),
        ("RuntimeError", "Dataset scripts are no longer supported, but found b.py", "cannot be loaded .*scripts"),
    ],
)
def test_what_the_hub_refuses_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, kind: str, said: str, message: str
) -> None:
    import datasets

    def load(path: str, **options: object) -> None:
        assert "trust_remote_code" not in options
        raise {"ValueError": ValueError, "RuntimeError": RuntimeError}.get(
            kind, datasets.exceptions.DatasetNotFoundError
        )(said)

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(ConfigError, match=message) as error:
        open_source(data_config("hub", path="a/b"))
    assert "experiment=quickstart" in str(error.value) and len(str(error.value).splitlines()) <= 2


@pytest.mark.usefixtures("hub_cache")
def test_a_directory_without_data_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no data files"):
        open_source(data_config("hub", path=tmp_path / "empty"))


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[hub\]"):
        open_source(data_config("hub", path="a/b"))


def test_names_are_unique_within_a_source() -> None:
    items, _ = listed(data_config("twemoji", caption="{text}"))
    assert max(Counter(item.name for item in items).values()) == 1
