"""docs/architecture.md names what is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
TREE = re.findall(r"```\n(emote/\n.*?)```", TEXT, re.DOTALL)[0]


def paths_of(tree: str) -> list[str]:
    """The paths of an indented tree, two spaces a level."""
    paths: list[str] = []
    above: list[str] = []
    for indent, name in re.findall(r"^( *)(\S+)", tree, re.MULTILINE):
        above = [*above[: len(indent) // 2], name]
        paths.append("".join(above))
    return paths


def test_everything_in_the_tree_exists() -> None:
    assert [path for path in paths_of(TREE) if not (ROOT / path).exists()] == []


def test_every_package_stands_in_the_tree_in_the_order_of_imports() -> None:
    from tests.test_layers import LAYERS

    packages = [file.parent.name for file in (ROOT / "emote").glob("*/__init__.py")]
    named = re.findall(r"^emote/(\w+)(?:/|\.py)$", "\n".join(paths_of(TREE)), re.MULTILINE)
    assert set(named) == {*packages, "config"}
    order = [part for layer in LAYERS for part in layer]
    by_rank = sorted(set(named) - {"commands"}, key=order.index)
    assert [name for name in named if name != "commands"] == by_rank


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`((?:emote|conf)/[\w/.]+(?::\w+)?)`", TEXT))))
def test_every_file_and_function_of_the_walks_exists(place: str) -> None:
    name, _, definition = place.partition(":")
    assert (ROOT / name).exists()
    if definition:
        assert re.search(rf"^ *(?:def|class) {definition}\b", (ROOT / name).read_text(), re.MULTILINE)
