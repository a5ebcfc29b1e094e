from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from emote.data.reading.files import open_files
from emote.demo.uploads import LONGEST_NAME, MOST_BYTES, clean_name, keep_upload
from emote.util.errors import ConfigError


def write(folder: Path, **contents: str) -> list[Path]:
    files = []
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        files.append(folder / name)
    return files


def test_the_same_files_have_the_same_place_and_it_is_a_set(tmp_path: Path) -> None:
    files = write(tmp_path / "in", **{"cat.png": "cat", "cat.txt": "a cat"})
    place = keep_upload(files, tmp_path / "runs")
    assert open_files(str(place)).names == ["cat.png", "cat.txt"]
    assert keep_upload(files, tmp_path / "runs") == place
    assert [path.name for path in place.parent.iterdir()] == [place.name]  # nothing half done lies about


def contents(place: Path) -> dict[str, str]:
    return {name: (place / name).read_text() for name in open_files(str(place)).names}


def test_files_lie_in_the_folders_that_the_browser_tells(tmp_path: Path) -> None:
    given = {"a/1.png": "A", "b/1.png": "B", "b/1.txt": "b", "10_blob/a/1.png": "C", "metadata.csv": "D"}
    files = write(tmp_path, **given)
    place = keep_upload(files, tmp_path / "runs", [f"my emoji/{name}" for name in given])
    assert contents(place) == given
    assert keep_upload(files[::-1], tmp_path / "runs", [f"other/{name}" for name in given][::-1]) == place
    several = keep_upload(files[:2], tmp_path / "runs", ["a/1.png", "b/1.png"])  # two folders were dropped
    assert contents(several) == {"a/1.png": "A", "b/1.png": "B"}


def test_captions_of_files_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    given = write(tmp_path, **{"a/1.png": "A", "b/1.png": "B", "b/1.txt": "b", "c/1.PNG": "C"})
    with pytest.raises(ConfigError, match=r"two files are called 1\.png.*one zip of their folder"):
        keep_upload(given, tmp_path / "runs")
    assert list((tmp_path / "runs" / "uploads").iterdir()) == []
    images = [*given[:2], given[3], *write(tmp_path, **{"2": "a name", "a/.DS_Store": "", "b/.DS_Store": ""})]
    with pytest.raises(ConfigError, match="two files are called"):  # `2` is no image
        keep_upload(images, tmp_path / "runs")
    del images[3]
    assert contents(keep_upload(images, tmp_path / "runs")) == {"1.png": "A", "2/1.png": "B", "3/1.PNG": "C"}
    taken = keep_upload(images[:2], tmp_path / "runs", ["1.png", "1.png/x.png"])
    assert contents(taken) == {"2/1.png": "A", "1.png/x.png": "B"}


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("../../etc/passwd", "etc/passwd"), ("/abs/a.png", "abs/a.png"), ("a\\..\\b.png", "a/b.png"),
        ("a/./ /\u202eb\x00.png", "a/b.png"), ("..", "unnamed"), ("", "unnamed"),
        ("é" * 200 + "/a.png", "é" * 30 + "/a.png"),
    ],
)  # fmt: skip
def test_what_a_browser_tells_is_not_trusted(tmp_path: Path, told: str, place: str) -> None:
    files = write(tmp_path / "in", **{"1.png": "A", "2.png": "B"})
    kept = keep_upload(files, tmp_path / "runs", [told, "fine.png"])
    assert contents(kept) == {place: "A", "fine.png": "B"}
    assert contents(keep_upload(files, tmp_path / "runs", [told])) == {"1.png": "A", "2.png": "B"}  # not one for each
    with pytest.raises(ConfigError, match="folders may lie 11 deep in each other, not 20"):
        keep_upload(files, tmp_path / "runs", ["a/" * 20 + "b.png", "c.png"])


def test_a_zip_is_kept_as_it_is_and_unpacked_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("../../../out.png", "escaped")
        archive.writestr("/abs.png", "absolute")
    place = keep_upload([tmp_path / "set.zip"], tmp_path / "runs")
    assert place.suffix == ".zip" and place.read_bytes() == (tmp_path / "set.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == []


@pytest.mark.parametrize("size", [50 << 20, MOST_BYTES + 1])
def test_a_bomb_is_refused_by_its_directory_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", b"0" * 1000)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, size)  # what it says that it unpacks to
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"as no image does|may take"):
        keep_upload([path], tmp_path / "runs")
    assert list((tmp_path / "runs" / "uploads").iterdir()) == []


def test_what_cannot_be_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has arrived"):
        keep_upload([], tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", "x")
    with pytest.raises(ConfigError, match="one zip, or images"):
        keep_upload([tmp_path / "a.zip", *write(tmp_path, **{"b.png": "b"})], tmp_path / "runs")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "passwd"), ("..\\..\\evil.png", "evil.png"), ("a\x00\n\u202eb.png", "ab.png"),
        ("..", "unnamed"), ("", "unnamed"), ("/", "unnamed"), ("   ", "unnamed"), ("قطة.png", "قطة.png"),
    ],
)  # fmt: skip
def test_names_are_cleaned(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize("name", ["é" * 300 + ".png", "." + "x" * 300, "x" * 300, "x." + "😀" * 100])
def test_long_names_are_cut_to_what_a_disk_takes(name: str) -> None:
    assert 0 < len(clean_name(name).encode()) <= LONGEST_NAME
