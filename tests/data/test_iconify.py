from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emote.data.iconify import BadIconSet, read_icon_set, to_slug
from emote.data.images import decode

SQUARE = '<path fill="#f00" d="M0 0h8v8H0z"/>'  # a red square in the top left quarter


def write_set(folder: Path, icons: dict[str, Any], **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "icons.json").write_text(json.dumps({"prefix": "my-set", "width": 16, "height": 16, **icons}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(
        tmp_path / "set",
        {
            "icons": {"cat": {"body": SQUARE}, "rocket-ship": {"body": SQUARE, "width": 32}},
            "aliases": {
                "kitty": {"parent": "cat", "hFlip": True},
                "turned": {"parent": "kitty", "rotate": 1},
                "lost": {"parent": "nothing"},
                "circle": {"parent": "circle"},
            },
        },
        info={"name": "My Set", "author": {"name": "Me", "url": "https://me"}, "license": {"title": "MIT"}},
        chars={"1f408": "cat", "1f680": "rocket-ship"},
    )


def red(svg: bytes) -> list[list[int]]:
    """Which quarters are red."""
    alpha = np.asarray(decode(svg, 16))[..., 3]
    return (alpha.reshape(2, alpha.shape[0] // 2, 2, alpha.shape[1] // 2).mean(axis=(1, 3)) > 128).astype(int).tolist()


def test_icons_have_emoji_names_by_codepoint(folder: Path) -> None:
    icon_set = read_icon_set(folder)
    emoji = icon_set.emoji()
    assert {code: (icon.icon, icon.name) for code, icon in emoji.items()} == {
        "1F408": ("cat", "cat"), "1F680": ("rocket-ship", "rocket"),
    }  # fmt: skip
    assert (icon_set.title, icon_set.author, icon_set.licence, icon_set.url) == ("My Set", "Me", "MIT", "https://me")


def test_icons_that_are_no_emoji_are_called_by_their_words(tmp_path: Path) -> None:
    icon_set = read_icon_set(write_set(tmp_path, {"icons": {"arrow-bend-up": {"body": SQUARE}}}, chars={"41": "x"}))
    assert icon_set.icons["arrow-bend-up"].name == "arrow bend up"
    assert icon_set.emoji() == {} and icon_set.author == "unknown"


def test_without_characters_the_cldr_name_with_hyphens_counts(tmp_path: Path) -> None:
    icon_set = read_icon_set(write_set(tmp_path, {"icons": {"cat-with-tears-of-joy": {"body": SQUARE}}}, chars={}))
    assert icon_set.emoji()["1F639"].name == "cat with tears of joy"
    assert to_slug("woman’s hat: Piñata!") == "womans-hat-pinata"


def test_aliases_turn_and_flip_their_parent_and_lost_ones_are_left_out(folder: Path) -> None:
    icons = read_icon_set(folder).icons
    assert red(icons["cat"].svg) == [[1, 0], [0, 0]]
    assert red(icons["kitty"].svg) == [[0, 1], [0, 0]]
    assert red(icons["turned"].svg) == [[0, 0], [0, 1]]
    assert {"lost", "circle"}.isdisjoint(icons)


def test_an_icons_own_size_beats_the_sets(folder: Path) -> None:
    assert b'viewBox="0 0 32 16"' in read_icon_set(folder).icons["rocket-ship"].svg


def test_a_packed_set_reads_as_its_folder_does(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "set.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, arcname="package")
    assert read_icon_set(packed).icons == read_icon_set(folder).icons


@pytest.mark.parametrize("content", ["", "{}", '{"icons": []}', "[1]", "{"])
def test_what_is_no_icon_set_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "icons.json").write_text(content)
    with pytest.raises(BadIconSet, match=str(tmp_path)):
        read_icon_set(tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.tgz").write_bytes(b"no")
    with pytest.raises(BadIconSet, match="cannot be read"):
        read_icon_set(tmp_path / "set.tgz")
    with pytest.raises(BadIconSet):
        read_icon_set(tmp_path / "absent.tgz")
