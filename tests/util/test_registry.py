"""Components by their names: files of a folder, entry points of other packages, and `_target_`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from emote.util import registry
from emote.util.errors import ConfigError
from emote.util.registry import Kind

HERE = '''"""Grows {name}. And more."""
from dataclasses import dataclass

from emote.config import key


@dataclass
class Options:
    size: int = key("how large", default={size}, at_least=1)


def grow(options: Options) -> str:
    return "{name}" * options.size
'''


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Apples in a folder, and pears that another installed package offers."""
    folder = tmp_path / "fruits"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_helper.py").write_text("raise RuntimeError")
    (folder / "apple.py").write_text(HERE.format(name="apple", size=2))
    (folder / "plum.py").write_text('"""Needs more."""\nPACKAGE = "no_such_package"\ndef grow(): ...\n')
    (tmp_path / "elsewhere.py").write_text(HERE.format(name="pear", size=1))
    (tmp_path / "elsewhere-1.dist-info").mkdir()
    (tmp_path / "elsewhere-1.dist-info" / "METADATA").write_text("Name: elsewhere\nVersion: 1\n")
    (tmp_path / "elsewhere-1.dist-info" / "entry_points.txt").write_text(
        "[emote.fruit]\npear = elsewhere\nbroken = not_there\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (registry._files, registry.offered):
        cached.cache_clear()
    yield Kind("fruit", "fruits", "grow")
    for cached in (registry._files, registry.offered):
        cached.cache_clear()


def test_names_are_those_of_files_and_of_other_packages(kind: Kind) -> None:
    assert kind.names() == ["apple", "plum", "broken", "pear"]


def test_a_meaning_is_the_first_sentence_of_the_docstring(kind: Kind) -> None:
    assert (kind.meaning("apple"), kind.meaning("pear")) == ("Grows apple.", "Grows pear.")


def test_a_component_is_called_with_its_options_or_their_defaults(kind: Kind) -> None:
    assert (kind.make("apple")(), kind.make("pear")()) == ("appleapple", "pear")
    assert kind.make("apple", SimpleNamespace(apple=SimpleNamespace(size=3)))() == "apple" * 3


def test_a_target_is_called_with_what_stands_beside_it(kind: Kind) -> None:
    assert kind.make({"_target_": "builtins.dict", "a": 1})(b=2) == {"a": 1, "b": 2}


def test_options_of_what_cannot_be_imported_are_left_out(kind: Kind) -> None:
    assert [name for name, _ in kind.sections()] == ["apple", "pear"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("aple", r"garden\.fruit must be one of apple, plum, broken, pear, got aple; did you mean apple\?"),
        ({"size": 1}, r"garden\.fruit must be a name, or a mapping with _target_, got"),
    ],
)
def test_what_is_no_choice_is_told_without_importing_it(kind: Kind, choice: object, message: str) -> None:
    assert re.match(message, str(kind.problem("garden.fruit", choice)))
    assert kind.problem("garden.fruit", "broken") is None


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("plum", "garden.fruit=plum needs the package no_such_package: pip install no_such_package"),
        ("broken", "fruit broken cannot be imported: No module named 'not_there'"),
        (
            {"_target_": "elsewhere.Nothing"},
            r"garden.fruit._target_ must be package.module.Name, got elsewhere.Nothing",
        ),
        ({"_target_": "nowhere"}, "garden.fruit._target_ must be package.module.Name, got nowhere"),
    ],
)
def test_what_would_fail_later_is_told_before(kind: Kind, choice: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind.require("garden.fruit", choice)
