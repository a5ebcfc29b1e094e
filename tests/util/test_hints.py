from __future__ import annotations

from pathlib import Path

import pytest

from emote.inference.resolve_adapter import find_adapter
from emote.lora.warm_start import start_file
from emote.models.locate import locate
from emote.util.errors import ConfigError
from emote.util.hints import of_address
from tests.inference.conftest import model_config
from tests.models.helpers import lora_config

HUB = "https://huggingface.co/someone/style"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (HUB, "someone/style"), (f"{HUB}/", "someone/style"), (f"{HUB}/tree/main", "someone/style"),
        (f"{HUB}/resolve/main/a/b.safetensors?download=true", "someone/style/a/b.safetensors"),
        (f"{HUB}/blob/v1.0/b.safetensors", "someone/style/b.safetensors"), ("hub://someone/style", "someone/style"),
        ("hf://someone/style", "someone/style"), ("file:///home/me/x.safetensors", "/home/me/x.safetensors"),
        ("http://hf.co/someone/style", "someone/style"),
    ],
)  # fmt: skip
def test_an_address_of_the_hub_leads_to_the_name(address: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_adapter(address, tmp_path)
    assert str(caught.value) == f"run={address} is an address; set run={name}"


def test_other_addresses_are_to_be_downloaded_and_paths_are_none() -> None:
    other = "https://civitai.com/api/download/models/1"
    assert of_address("run", other) == (
        f"run={other} is an address, from which nothing is downloaded; download it, and set run=<its path>"
    )
    assert not any(of_address("run", text) for text in ("C:/x", "a/b", "/a//b", "", "www.style", "huggingface.co/a/b"))


def test_base_models_and_starts_say_it_too() -> None:
    with pytest.raises(ConfigError, match=r"^model\.path=https:\S+ is an address; set model\.path=someone/style$"):
        locate(model_config(f"{HUB}/blob/main/x.safetensors"))
    with pytest.raises(ConfigError, match=r"^lora\.init_from=https:\S+ is an address, from which nothing is downl"):
        start_file(lora_config(init_from=HUB))
