"""Sets of the Hub as people have them: classes, lists, configurations, archives, paths, base64."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import pytest

from emote.data.sources import open_source
from emote.util.errors import ConfigError
from tests.data.helpers import bytes_of, data_config
from tests.data.test_sources import write_hub

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def image(number: int) -> dict[str, object]:
    return {"bytes": bytes_of(number), "path": None}


def test_classes_are_captions_by_their_names(tmp_path: Path) -> None:
    kinds = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["grumpy_cat", "HappyDog"])}
    )
    path = write_hub(tmp_path / "set", {"image": [image(0), image(1)], "label": [1, 0]}, kinds)
    found = open_source(data_config("hub", path=path))
    assert [(item.caption, item.origin) for item in found.items] == [
        ("happy dog", "classes"),
        ("grumpy cat", "classes"),
    ]
    assert list(found.notes) == ["captions are read from the column label, since there is no column text"]


def test_class_folders_are_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("grumpy_cat/a.png", "happy_dog/b.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(bytes_of(number))
    found = open_source(data_config("hub", path=tmp_path / "set"))
    assert {item.caption for item in found.items} == {"grumpy cat", "happy dog"}
    assert {item.read() for item in found.items} == {bytes_of(0), bytes_of(1)}


def test_lists_of_captions_are_an_item_for_each(tmp_path: Path) -> None:
    kinds = datasets.Features({"image": datasets.Image(), "captions": datasets.Sequence(datasets.Value("string"))})
    path = write_hub(tmp_path / "set", {"image": [image(0), image(1)], "captions": [["a cat", "a red cat"], []]}, kinds)
    found = open_source(data_config("hub", path=path))
    assert [(item.name, item.caption) for item in found.items] == [("train[0]", "a cat"), ("train[0]", "a red cat")]
    assert [str(one) for one in found.skipped] == ["train[1]: its caption is empty"]


def test_one_caption_for_all_and_weights(tmp_path: Path) -> None:
    value = datasets.Value
    kinds = datasets.Features({"image": datasets.Image(), "text": value("string"), "weight": value("float32")})
    path = write_hub(
        tmp_path / "set", {"image": [image(0), image(1)], "text": ["a cat", None], "weight": [2, None]}, kinds
    )
    found = open_source(data_config("hub", path=path, captions="one", caption="an emoji"))
    assert [(item.caption, item.repeats) for item in found.items] == [("an emoji", 2.0), ("an emoji", 1.0)]
    assert [item.concept for item in found.items] == ["a cat", "train 1"]


def test_a_configuration_is_chosen_by_a_key(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("big", "small"):
        write_hub(root / name, {"image": [image(len(name))], "text": [f"a {name} cat"]})
    configurations = "".join(
        f"- config_name: {name}\n  data_files: {name}/data/*.parquet\n" for name in ("big", "small")
    )
    (root / "README.md").write_text(f"---\nconfigs:\n{configurations}---\n")
    with pytest.raises(ConfigError, match=r"has several configurations .*big.*small.*; set data\.config=<one of them>"):
        open_source(data_config("hub", path=root))
    [item] = open_source(data_config("hub", path=root, config="small")).items
    assert item.caption == "a small cat"
    with pytest.raises(ConfigError, match=r"data\.config=huge is none of them"):
        open_source(data_config("hub", path=root, config="huge"))


def test_a_zip_with_metadata_is_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set/images.zip", "w") as archive:
        archive.writestr("cat.png", bytes_of(0))
        archive.writestr("metadata.jsonl", json.dumps({"file_name": "cat.png", "text": "a cat"}) + "\n")
    [item] = open_source(data_config("hub", path=tmp_path / "set")).items
    assert item.caption == "a cat" and item.read() == bytes_of(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("images/cat.png", None), ("images\\cat.png", None), (base64.b64encode(bytes_of(0)).decode(), None),
     ("data:image/png;base64," + base64.b64encode(bytes_of(0)).decode(), None),
     ("https://example.org/cat.png", "nothing is downloaded"), ("gone.png", "No such file")],
)  # fmt: skip
def test_images_may_be_paths_and_base64(tmp_path: Path, text: str, message: str | None) -> None:
    value = datasets.Value
    kinds = datasets.Features({"image": value("string"), "text": value("string")})
    path = write_hub(tmp_path / "set", {"image": [text], "text": ["a cat"]}, kinds)
    (path / "images").mkdir()
    (path / "images/cat.png").write_bytes(bytes_of(0))
    [item] = open_source(data_config("hub", path=path)).items
    if message is None:
        assert item.read() == bytes_of(0)
    else:
        with pytest.raises(OSError, match=message):
            item.read()
