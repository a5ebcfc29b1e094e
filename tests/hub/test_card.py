"""The model card: what the Hub reads of it, and code that does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard
from PIL import Image, ImageChops

from emote.config import HubConfig
from emote.hub.card import metadata, recipe, weaknesses, write_card
from emote.hub.client import Hub
from emote.hub.facts import Facts
from emote.hub.push import plan, push_pending
from tests.hub_server import HubServer

NAME = "tester/style"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture
def told(delivered: Path) -> tuple[dict[str, Any], dict[str, Any], frozenset[str]]:
    step = delivered / "steps" / "000004"
    config = yaml.safe_load((step / "config.yaml").read_text())
    summary = json.loads((step / "summary.json").read_text())
    return config, summary, frozenset(summary["files"])


@pytest.fixture
def facts(told: tuple[dict[str, Any], dict[str, Any], frozenset[str]]) -> Facts:
    """Of that run, as if its base were Stable Diffusion 1.5 and its images a set on the Hub."""
    config, summary, files = told
    config["model"]["path"] = SD15
    config["data"] |= {"source": "hub", "path": "someone/emoji", "caption": "An emoji of {text}"}
    return Facts(config, summary, NAME, files, base_is_local=False)


def changed(facts: Facts, **changes: Any) -> Facts:
    """changes: of the configuration, with `__` for the dots."""
    config = json.loads(json.dumps(facts.config))
    for name, value in changes.items():
        section, _, key = name.partition("__")
        config[section][key] = value
    return Facts(config, facts.summary, NAME, facts.files, facts.base_is_local)


def with_summary(facts: Facts, **changes: Any) -> Facts:
    return Facts(facts.config, dict(facts.summary) | changes, NAME, facts.files, facts.base_is_local)


def test_the_hub_reads_what_it_needs_to_know(facts: Facts) -> None:
    card = ModelCard(write_card(facts))
    data = card.data.to_dict()
    assert data["base_model"] == SD15 and data["base_model_relation"] == "adapter"
    assert (data["library_name"], data["pipeline_tag"]) == ("diffusers", "text-to-image")
    assert data["license"] == "creativeml-openrail-m" and data["datasets"] == ["someone/emoji"]
    assert data["instance_prompt"] == "An emoji of"
    assert {"lora", "text-to-image", "stable-diffusion", "diffusers"} <= set(data["tags"])
    assert [(w["text"], w["output"]["url"]) for w in data["widget"]] == [
        (prompt, f"samples/{i:02d}-fine-tuned.png") for i, prompt in enumerate(facts.prompts)
    ]


def test_a_base_that_is_not_on_the_hub_is_not_named_as_if_it_were(facts: Facts) -> None:
    local = Facts(changed(facts, model__path="dreamy.safetensors").config, facts.summary, NAME, facts.files, True)
    assert "base_model" not in metadata(local) and metadata(local)["license"] == "other"
    assert metadata(local)["license_name"]
    assert 'from_single_file("dreamy.safetensors"' in write_card(local)


@pytest.mark.parametrize(
    ("caption", "words"),
    [("An emoji of {text}", "An emoji of"), ("{text}, flat art", "flat art"), ("{text}", None),
     ("An emoji of {text}, {style} style", "hub style")],
)  # fmt: skip
def test_the_trigger_is_what_all_captions_share(facts: Facts, caption: str, words: str | None) -> None:
    assert changed(facts, data__caption=caption).trigger == words


def test_images_of_ones_own_are_no_data_set_of_the_hub(facts: Facts) -> None:
    own = changed(facts, data__source="folder", data__path="my images")
    assert "datasets" not in metadata(own) and "my images" in write_card(own)


def test_every_file_that_the_card_shows_is_pushed(facts: Facts) -> None:
    text = write_card(facts)
    linked = {target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target}
    assert linked and linked <= set(facts.files) | {"README.md"}


def test_without_samples_the_card_shows_none(facts: Facts) -> None:
    bare = frozenset(file for file in facts.files if not file.startswith("sample") and file != "loss.png")
    text = write_card(Facts(facts.config, facts.summary, NAME, bare, False))
    assert "![" not in text and "widget" not in text


def test_the_recipe_and_the_command_are_on_it(facts: Facts) -> None:
    text = write_card(facts)
    rows = dict(recipe(facts))
    assert "rank 4" in rows["adapter"] and rows["steps"] == "4 of 4 images" and "AdamW" in rows["optimizer"]
    assert f"\n{facts.summary['command']}\n" in text and facts.summary["identity"] in text
    assert "CreativeML OpenRAIL-M" in text and "the terms of someone/emoji" in text


def test_other_tools_are_told_their_file(facts: Facts) -> None:
    text = write_card(facts)
    assert "ComfyUI/models/loras" in text and "LoraLoaderModelOnly" in text
    assert "models/Lora" in text and f"{facts.prompts[0]} <lora:smoke:1>\n" in text


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"base": None, "final": None}, "Nothing was held out"),
        ({"base": 0.2, "final": 0.21, "relative": 0.05, "items": 9, "concepts": 3}, "not lower than the base"),
        ({"base": 0.2, "final": 0.19, "relative": -0.05, "items": 9, "concepts": 3, "interval_95": [-0.03, 0.01]},
         "may be chance"),
    ],
)  # fmt: skip
def test_it_says_what_it_is_bad_at(facts: Facts, losses: dict[str, Any], said: str) -> None:
    assert any(said in line for line in weaknesses(with_summary(facts, validation_loss=losses)))
    assert said in write_card(with_summary(facts, validation_loss=losses))


def test_a_best_step_before_the_end_is_named(facts: Facts) -> None:
    files = facts.files | {"best-at-step-2/pytorch_lora_weights.safetensors"}
    assert "lowest at step 2" in write_card(Facts(facts.config, facts.summary, NAME, files, False))


def test_on_the_way_it_says_that_training_goes_on(facts: Facts) -> None:
    text = write_card(with_summary(facts, planned_steps=1500, validation_loss={"base": None, "final": None}))
    assert "this is step 4 of 1,500" in text and "Nothing was held out" not in text


@pytest.mark.slow
def test_the_cards_own_code_draws_the_cards_image_in_stock_diffusers(
    hub: HubServer, finished: Path, tiny_sd: Path, tmp_path: Path
) -> None:
    """From an empty directory with the real client; nothing of this project is imported."""
    plan(finished, finished / "steps" / "000004", HubConfig(push=True, repo=NAME, private=True))
    push_pending(finished, Hub())
    empty = tmp_path / "empty"
    empty.mkdir()
    copy = Path(HfApi(endpoint=hub.url, token=hub.TOKEN).snapshot_download(NAME, local_dir=empty / "style"))
    assert (copy / "README.md").read_bytes() == hub.repositories[NAME].files["README.md"]
    code = re.findall(r"```python\n(.*?)```", (copy / "README.md").read_text(), re.DOTALL)
    assert len(code) == 1 and f'load_lora_weights("{NAME}"' in code[0]
    (empty / tiny_sd.name).symlink_to(tiny_sd)  # the base model must lie where the code is run
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment = kept | {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.TOKEN, "HF_HOME": str(empty / "home"), "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code[0]], cwd=empty, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    drawn, shown = Image.open(empty / "emoji.png"), Image.open(copy / "samples" / "00-fine-tuned.png")
    base = Image.open(copy / "samples" / "00-base.png")
    assert hub.count(rf"^/{NAME}/resolve/.*pytorch_lora_weights", "GET") == 2

    def apart(one: Image.Image, other: Image.Image) -> int:
        return max(high for _, high in ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema())

    assert apart(drawn, shown) <= 2 and apart(drawn, base) > apart(drawn, shown)
