from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from emote.inference.resolve_adapter import find_adapter
from emote.models.components import load_text_encoder, load_unet
from emote.util.errors import ConfigError
from tests.inference.conftest import NAME, model_config
from tests.lora.tools import TOOLS, matrices

CARD = "---\nbase_model: {base}\nlicense: openrail\ntags: [lora]\n---\n\n# A style\n"


@pytest.fixture
def repository(runs: Path, tiny_sd: Path, tmp_path: Path) -> Path:
    """What `someone/style` holds on the Hub."""
    directory = tmp_path / "snapshot"
    directory.mkdir()
    shutil.copy(runs / NAME / "steps" / "000020" / "pytorch_lora_weights.safetensors", directory)
    (directory / "README.md").write_text(CARD.format(base=tiny_sd))
    return directory


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, repository: Path) -> list[dict[str, Any]]:
    """The Hub with that repository alone; what was downloaded of it is returned."""
    asked: list[dict[str, Any]] = []

    def model_info(self: Any, name: str, **_: Any) -> Any:
        if name != "someone/style":
            raise ConnectionError("no network")
        files = [str(path.relative_to(repository)) for path in sorted(repository.rglob("*")) if path.is_file()]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in files], sha="abc")

    def snapshot_download(name: str, **keywords: Any) -> str:
        asked.append(keywords)
        if name != "someone/style":
            raise FileNotFoundError("not in the cache")
        return str(repository)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_an_adapter_of_the_hub_says_its_base_and_licence_on_its_card(
    hub: list[dict[str, Any]], tmp_path: Path, tiny_sd: Path
) -> None:
    # a path is not what cards hold; it stands for a Hub name here
    adapter = find_adapter("someone/style", tmp_path, model_config(tiny_sd))
    assert (adapter.label, adapter.name, adapter.licence) == ("someone/style", "style", "openrail")
    assert hub[0]["revision"] == "abc"
    wanted = {"pytorch_lora_weights.safetensors", "README.md", "config.yaml", "evaluation.json", "adapter_config.json"}
    assert set(hub[0]["allow_patterns"]) == wanted


def test_peft_s_files_of_several_parts_come_together_and_with_their_settings(
    hub: list[dict[str, Any]], repository: Path, tmp_path: Path, tiny_sd: Path
) -> None:
    (repository / "pytorch_lora_weights.safetensors").unlink()
    TOOLS["peft"](matrices({"unet": load_unet(tiny_sd), "text_encoder": load_text_encoder(tiny_sd)}), repository)
    both = find_adapter("someone/style", tmp_path, model_config(tiny_sd))
    assert (both.file, both.label, both.name) == (repository, "someone/style", "style")
    files = {f"{p}/adapter_{n}" for p in ("unet", "text_encoder") for n in ("model.safetensors", "config.json")}
    assert files < set(hub[0]["allow_patterns"])
    one = find_adapter("someone/style/unet", tmp_path, model_config(tiny_sd))
    assert one.file == repository / "unet" / "adapter_model.safetensors"
    assert "unet/adapter_config.json" in hub[1]["allow_patterns"] and one.short_hash != both.short_hash


def test_the_base_on_the_card_is_taken(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "README.md").write_text(CARD.format(base="[someone/base]"))
    monkeypatch.setattr("emote.inference.resolve_adapter.find_base", lambda model: SimpleNamespace(side_px=512))
    adapter = find_adapter("someone/style", tmp_path)
    assert (adapter.base.path, adapter.resolution) == ("someone/base", 512)


def test_one_that_this_project_published_brings_its_configuration(repository: Path, runs: Path, tmp_path: Path) -> None:
    shutil.copy(runs / NAME / "steps" / "000020" / "config.yaml", repository)
    adapter = find_adapter("someone/style", tmp_path)
    assert (adapter.label, adapter.caption, adapter.resolution) == ("someone/style", "A {text}, openmoji", 32)


def test_one_of_several_files_must_be_named(repository: Path, tmp_path: Path, tiny_sd: Path) -> None:
    (repository / "pytorch_lora_weights.safetensors").rename(repository / "a.safetensors")
    (repository / "later").mkdir()
    shutil.copy(repository / "a.safetensors", repository / "later" / "b.safetensors")
    with pytest.raises(ConfigError, match=r"2 such adapters.*run=someone/style/<file>, one of a\.saf.*, later/b\.saf"):
        find_adapter("someone/style", tmp_path)
    adapter = find_adapter("someone/style/later/b.safetensors", tmp_path, model_config(tiny_sd))
    assert (adapter.file.name, adapter.label) == ("b.safetensors", "someone/style/later/b.safetensors")
    with pytest.raises(ConfigError, match="no such adapters"):
        find_adapter("someone/style/c.safetensors", tmp_path)


def test_without_a_network_the_cache_serves(
    monkeypatch: pytest.MonkeyPatch, hub: list[dict[str, Any]], tmp_path: Path, tiny_sd: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_adapter("someone/style", tmp_path, model_config(tiny_sd)).file.is_file()
    assert hub[0] == {"local_files_only": True}


def test_what_is_not_to_be_had_is_said_in_two_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_adapter("someone/else", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "run=someone/else is not on this machine, and the Hub cannot be reached (no network)"
    assert len(lines) == 2 and "no finished runs" in lines[1]


def test_a_card_that_cannot_be_read_is_no_obstacle(repository: Path, tmp_path: Path, tiny_sd: Path) -> None:
    for text in ("---\n: [\n---\n", "# no front matter", "---\njust words\n---\n", "---\nlicense: null\n---"):
        (repository / "README.md").write_text(text)
        assert find_adapter("someone/style", tmp_path, model_config(tiny_sd)).licence == ""
    (repository / "README.md").unlink()
    assert find_adapter("someone/style", tmp_path, model_config(tiny_sd)).licence == ""
