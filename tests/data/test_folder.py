"""Folders and archives as people have them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from emote.data.item import Found
from emote.data.sources import open_source
from emote.util.errors import ConfigError
from tests.data.helpers import bytes_of, data_config, encoded


def write(root: Path, *names: str, **texts: str) -> Path:
    """Images of different content by their names, and text files by their stems."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes_of(number))
    for stem, text in texts.items():
        (root / f"{stem}.txt").write_text(text, encoding="utf-8")
    return root


def read(root: Path, **values: object) -> Found:
    return open_source(data_config(path=root, **values))


def captions(found: Found) -> dict[str, str]:
    return {item.name: item.caption for item in found.items}


def reasons(found: Found) -> dict[str, str]:
    return {one.name: one.reason for one in found.skipped}


def files_on_disk(root: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(root))


def accounted(found: Found) -> int:
    used = {item.name for item in found.items}
    return len(used) + len({one.name for one in found.skipped if one.is_file} - used) + sum(found.files.values())


# Where captions come from


def test_names_are_captions_where_there_are_no_others(tmp_path: Path) -> None:
    found = read(write(tmp_path, "party_cat.png", "SadDog (2).png", "IMG_0001.png", told="x", party_cat="a told cat"))
    assert captions(found) == {"party_cat.png": "a told cat", "SadDog (2).png": "sad dog"}
    assert {item.name: item.origin for item in found.items} == {
        "party_cat.png": "text files",
        "SadDog (2).png": "file names",
    }
    assert "its name says nothing" in reasons(found)["IMG_0001.png"]
    assert found.files == {"captions in text files": 1, "text files without an image": 1}


def test_which_captions_are_taken_is_a_key(tmp_path: Path) -> None:
    write(tmp_path, "cats/party_cat.png", "dogs/x1.png")
    (tmp_path / "cats/party_cat.txt").write_text("told")
    assert captions(read(tmp_path, captions="files")) == {"cats/party_cat.png": "told"}
    assert captions(read(tmp_path, captions="names")) == {"cats/party_cat.png": "party cat", "dogs/x1.png": "x1"}
    assert captions(read(tmp_path, captions="folders")) == {"cats/party_cat.png": "cats", "dogs/x1.png": "dogs"}
    one = read(tmp_path, captions="one", caption="an emoji in myblob style")
    assert set(captions(one).values()) == {"an emoji in myblob style"}
    assert {item.concept for item in one.items} == {"party cat", "x1"}  # so that some can be held out


def test_one_caption_for_all_needs_no_words(tmp_path: Path) -> None:
    found = read(write(tmp_path, "0001.png", "0002.png"), caption="an emoji in myblob style")
    assert [item.caption for item in found.items] == ["an emoji in myblob style"] * 2
    assert {item.origin for item in found.items} == {"one for all"}


def test_the_trigger_word_stands_once_in_every_caption(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png", a="myblob, a cat", b="a dog")
    found = read(tmp_path, trigger="myblob", caption="myblob, {text}")
    assert captions(found) == {"a.png": "myblob, a cat", "b.png": "myblob, a dog"}


@pytest.mark.parametrize("sidecar", ["dog.TXT", "dog.png.txt", "DOG.txt", "dog.caption", "Dog.Caption"])
def test_text_files_are_found_however_they_are_called(tmp_path: Path, sidecar: str) -> None:
    (write(tmp_path, "dog.png") / sidecar).write_text("a dog")
    found = read(tmp_path)
    assert captions(found) == {"dog.png": "a dog"} and found.items[0].origin == "text files"


def test_the_exact_text_file_goes_first(tmp_path: Path) -> None:
    write(tmp_path, "dog.png")
    for name, text in (("dog.caption", "third"), ("DOG.txt", "no"), ("dog.png.txt", "second"), ("dog.txt", "first")):
        (tmp_path / name).write_text(text)
    assert captions(read(tmp_path)) == {"dog.png": "first"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
def test_other_encodings_are_read_and_told(tmp_path: Path, encoding: str) -> None:
    (write(tmp_path, "a.png") / "a.txt").write_bytes("an \u00e9t\u00e9".encode(encoding))
    found = read(tmp_path)
    assert captions(found) == {"a.png": "an \u00e9t\u00e9"}
    assert any(encoding in note for note in found.notes)


def test_tags_json_and_emoji_in_text_files_are_captions(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png", "c.png", a="cat\nred\n", b='{"caption": "a dog"}', c="\U0001f600")
    found = read(tmp_path)
    assert captions(found) == {"a.png": "cat, red", "b.png": "a dog", "c.png": "grinning face"}
    assert len(list(found.notes)) == 3  # each is said


def test_signs_of_other_programs_are_told_to_be_text(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.png", "b.png", a="(cat:1.3) <lora:x:1>", b="a cat"))
    assert captions(found)["a.png"] == "(cat:1.3) <lora:x:1>"
    assert [note for note in found.notes if note.startswith("1 captions hold signs")]


# Metadata


@pytest.mark.parametrize("name", ["captions.jsonl", "metadata.json1", "train.ndjson"])
def test_a_table_of_another_name_is_read_and_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, "0001.png")
    (tmp_path / name).write_text(json.dumps({"file_name": "0001.png", "text": "a cat"}) + "\n")
    found = read(tmp_path)
    assert captions(found) == {"0001.png": "a cat"} and found.files == {"metadata": 1}
    assert f"{name} was read as captions (1 lines)" in list(found.notes)


def test_metadata_in_json_is_read(tmp_path: Path) -> None:
    write(tmp_path, "0001.png")
    (tmp_path / "metadata.json").write_text(json.dumps([{"file_name": "0001.png", "text": "a cat"}]))
    assert captions(read(tmp_path)) == {"0001.png": "a cat"}


@pytest.mark.parametrize(
    ("spelling", "name"), [("sub\\a.png", "sub/a.png"), ("sub/a", "sub/a.png"), ("SUB/A.PNG", "sub/a.png"),
                           ("C:\\Users\\me\\a.png", "sub/a.png"), ("/elsewhere/a.png", "sub/a.png")],
)  # fmt: skip
def test_metadata_may_spell_names_otherwise(tmp_path: Path, spelling: str, name: str) -> None:
    write(tmp_path, name)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": spelling, "text": "a cat"}))
    found = read(tmp_path)
    assert captions(found) == {name: "a cat"}
    assert any("another spelling" in note for note in found.notes)


def test_metadata_may_name_images_that_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "other", "a.png") / "a.png"
    write(tmp_path / "set", "b.png")
    (tmp_path / "set/metadata.csv").write_text(f"file_name;text\n{elsewhere};a cat\nb.png;a dog\n")
    found = read(tmp_path / "set")
    assert [item.caption for item in found.items] == ["a dog", "a cat"]
    assert [item.read() for item in found.items] == [bytes_of(0), bytes_of(0)]


def test_a_list_of_captions_is_an_item_for_each(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": ["a cat", "a red cat", ""]}))
    found = read(tmp_path)
    assert [item.caption for item in found.items] == ["a cat", "a red cat"]
    assert any("empty caption beside others" in note for note in found.notes)


def test_lines_without_a_file_do_not_count_against_the_images(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    lines = [json.dumps({"file_name": f"{name}.png", "text": "x"}) for name in "abcdef"]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    found = read(tmp_path)
    assert len(found.items) == 1 and [one.is_file for one in found.skipped] == [False] * 5


# Repeats


def test_kohyas_folders_count_and_name(tmp_path: Path) -> None:
    write(tmp_path, "20_grumpy cat/a.png", "1_happy dog/b.png")
    found = read(tmp_path)
    assert [(item.caption, item.repeats) for item in found.items] == [("happy dog", 1.0), ("grumpy cat", 20.0)]
    assert [item.repeats for item in read(tmp_path, repeats="none").items] == [1.0, 1.0]


def test_repeats_by_folder_and_by_column(tmp_path: Path) -> None:
    write(tmp_path, "cats/x.png", "cats/old/y.png", "z.png")
    found = read(tmp_path, repeats={"cats": 3, "cats/old": 0.5}, captions="names")
    assert {item.name: item.repeats for item in found.items} == {"z.png": 1.0, "cats/x.png": 3.0, "cats/old/y.png": 0.5}
    with pytest.raises(ConfigError, match=r"data\.repeats names the folder cat, .*did you mean cats"):
        read(tmp_path, repeats={"cat": 3})
    (tmp_path / "metadata.csv").write_text("file_name,text,share\nz.png,c,2.5\n")
    assert {item.repeats for item in read(tmp_path, repeats="share").items if item.name == "z.png"} == {2.5}
    (tmp_path / "metadata.csv").write_text("file_name,text,repeats\nz.png,c,many\n")
    with pytest.raises(ConfigError, match=r"metadata.csv line 2: repeats must be a number above 0"):
        read(tmp_path)


# Kinds


def test_kinds_that_cannot_be_read_are_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emote.data import folder

    monkeypatch.setattr(folder, "suffixes", lambda: frozenset({".png"}))  # as without the packages for them
    write(tmp_path, "cat.png", "b.heic", "c.jxl", "d.webm", "e.tgs", "f.mp4", "g.xyz", "notes.pdf")
    (tmp_path / "g.txt").write_text("captioned")
    (tmp_path / "b.txt").write_text("captioned")
    (tmp_path / "g.xyz").write_bytes(b"no image")
    found = read(tmp_path)
    told = reasons(found)
    assert set(captions(found)) == {"cat.png"} and set(told) == {"b.heic", "c.jxl", "d.webm", "e.tgs", "f.mp4", "g.xyz"}
    assert "pip install pillow-heif" in told["b.heic"] and "pillow-jxl-plugin" in told["c.jxl"]
    assert "ffmpeg" in told["d.webm"] and "no kind of image" in told["g.xyz"]
    assert found.files["captions of files that cannot be read"] == 2 and found.files["other files (.pdf)"] == 1


def test_images_without_a_suffix_are_found(tmp_path: Path) -> None:
    (tmp_path / "party_cat").write_bytes(bytes_of(0))
    (tmp_path / "sad_dog.png_large").write_bytes(encoded(__import__("PIL.Image").Image.new("RGB", (4, 4)), "JPEG"))
    found = read(tmp_path)
    assert captions(found) == {"party_cat": "party cat", "sad_dog.png_large": "sad dog"}


def test_masks_are_counted_and_not_trained(tmp_path: Path) -> None:
    found = read(write(tmp_path, "cat.png", "cat-masklabel.png", "lone-masklabel.png"))
    assert set(captions(found)) == {"cat.png", "lone-masklabel.png"}
    assert found.files == {"masks, which are not used": 1}


# Archives


def test_a_zip_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("emoji/party_cat.png", bytes_of(1))
        archive.writestr("emoji/party_cat.txt", "a told cat")
        archive.writestr("emoji/sad_dog.png", bytes_of(2))
        archive.writestr("__MACOSX/emoji/._sad_dog.png", b"x")
    found = read(path)
    assert captions(found) == {"emoji/party_cat.png": "a told cat", "emoji/sad_dog.png": "sad dog"}
    assert [item.read() for item in found.items] == [bytes_of(1), bytes_of(2)]
    assert accounted(found) == 4 and found.files["hidden"] == 1


def test_a_damaged_part_of_a_zip_is_an_unreadable_image(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("party_cat.png", bytes_of(1))
    data = bytearray(path.read_bytes())
    data[60:70] = b"\0" * 10
    path.write_bytes(data)
    with pytest.raises(OSError, match="cannot be unpacked"):
        read(path).items[0].read()


@pytest.mark.parametrize(
    ("name", "message"),
    [("set.zip", "not a readable zip archive"), ("set.tar", "unpack it, or make a .zip"), ("set.csv", "set data=table"),
     ("a.png", "is a file; set data.path=")],
)  # fmt: skip
def test_other_files_are_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("train.parquet", "data=hub"), ("pack.zip", r"set data\.path=.*pack\.zip"), ("list.csv", "data=table"),
     ("notes.md", r"1 \.md")],
)  # fmt: skip
def test_a_folder_without_images_says_what_it_holds(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=f"holds no images.*{message}"):
        read(tmp_path)


# Tables


def test_a_table_names_images_that_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "b.png")
    table = tmp_path / "lists" / "list.csv"
    table.parent.mkdir()
    table.write_text(f"picture,words,weight\n../images/a.png,a cat,2\n{tmp_path}/b.png,a dog,\nhttps://x/y.png,z,1\n")
    found = open_source(data_config("table", path=table, image_column="picture", text_column="words"))
    assert [(item.caption, item.repeats) for item in found.items] == [("a cat", 2.0), ("a dog", 1.0)]
    assert [item.read() for item in found.items] == [bytes_of(0), bytes_of(1)]
    assert "nothing is downloaded" in reasons(found)["https://x/y.png"]


@pytest.mark.parametrize(
    ("name", "message"), [("", "set data=folder"), ("none.csv", "does not exist"), ("a.png", "must be a .csv")]
)
def test_a_table_that_is_none_is_told(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(ConfigError, match=message):
        open_source(data_config("table", path=tmp_path / name))


# The account


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    write(
        tmp_path, "a_cat.png", "0001.png", "b/c_dog.gif", "x.webm", ".hidden.png", a_cat="a cat", lone="x", readme="y"
    )
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "b/.DS_Store").write_text("x")
    found = read(tmp_path)
    assert accounted(found) == files_on_disk(tmp_path)
