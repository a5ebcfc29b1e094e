from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from emote.config import Config
from emote.data.sources import open_source
from emote.data.sources.iconify import find_package
from emote.hub.facts import Facts
from emote.util.errors import ConfigError
from tests.data.helpers import data_config


def package(folder: Path, characters: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    body = {"body": '<path fill="red" d="M4 4h8v8z"/>'}
    (folder / "icons.json").write_text(json.dumps({"prefix": "noto", "icons": {"cat-face": body, "logo": body}}))
    about = {"name": "Noto Emoji", "author": {"name": "Google Inc"}, "license": {"title": "Apache 2.0"}}
    (folder / "info.json").write_text(json.dumps(about))
    (folder / "chars.json").write_text(json.dumps(characters))
    return folder


def test_the_emoji_of_a_set_are_items_with_its_licence(tmp_path: Path) -> None:
    data = data_config("iconify", path=package(tmp_path / "noto", {"1f431": "cat-face"}), caption="An emoji of {text}")
    found = open_source(data)
    [item] = found.items
    assert (item.name, item.caption, item.concept) == ("noto/cat-face", "An emoji of cat face", "cat face")
    assert item.read().startswith(b"<svg") and found.is_curated
    assert found.licence == "Apache 2.0 (Noto Emoji by Google Inc)"


def test_a_set_without_emoji_is_used_whole(tmp_path: Path) -> None:
    found = open_source(data_config("iconify", path=package(tmp_path / "x", {"1f600": "none"})))
    assert [item.caption for item in found.items] == ["cat face", "logo"]


def test_a_package_is_found_where_npm_puts_it(tmp_path: Path) -> None:
    name = "@iconify-json/noto"
    with pytest.raises(ConfigError, match=r"fetch it with `npm pack @iconify-json/noto`"):
        find_package(name, tmp_path)
    folder = package(tmp_path / "package", {})
    with tarfile.open(tmp_path / "iconify-json-noto-1.2.7.tgz", "w:gz") as archive:
        archive.add(folder, "package")
    (tmp_path / "iconify-json-noto-v1-1.2.1.tgz").write_bytes(b"another set")
    assert find_package(name, tmp_path) == tmp_path / "iconify-json-noto-1.2.7.tgz"
    installed = package(tmp_path / "node_modules" / name, {})
    assert find_package(name, tmp_path) == installed and find_package(str(folder), tmp_path) == folder


@pytest.mark.parametrize(("path", "message"), [("nowhere", "does not exist"), ("empty", "holds no icons.json")])
def test_what_is_no_package_is_told(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        open_source(data_config("iconify", path=tmp_path / path))


def test_the_licence_is_in_the_record_of_a_run(tiny_run: Callable[..., Path], tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    folder = package(tmp_path / "noto", {"1f431": "cat-face", "1f436": "logo"})
    words = {"data.source": "iconify", "data.path": folder, "data.held_out": 0, "data.caption": "'{text}'"}
    path = tiny_run(**words, **{"trainer.max_steps": 1})
    record = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"))
    assert Facts(record, {}, "a/b", frozenset(), True).data_licence == "Apache 2.0 (Noto Emoji by Google Inc)"  # type: ignore[arg-type]
    from emote.inference.resolve_adapter import find_adapter

    assert "Apache 2.0 (Noto Emoji by Google Inc)" in find_adapter(str(path), tmp_path / "runs").licence


def test_a_licence_of_ones_own_goes_first(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config(**{"data.licence": "CC0"})
    assert Facts({"data": vars(config.data)}, {}, "a/b", frozenset(), True).data_licence == "CC0"
