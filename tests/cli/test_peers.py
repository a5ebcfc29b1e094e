"""Other trainers' words: each leads to a key that exists, or to the reason why there is none."""

from __future__ import annotations

from dataclasses import fields

import pytest

from emote.cli.keys import LEAVES
from emote.cli.keywords import read_keywords
from emote.cli.peers import NONE, SAME
from emote.cli.train import main
from emote.config import GROUPS
from emote.hub.push_later import Push
from emote.inference.export import Export
from emote.inference.options import Options
from emote.packs.options import PackOptions
from emote.util.errors import ConfigError

COMMANDS = (Options, PackOptions, Export, Push)
KEYS = {*LEAVES, *GROUPS, *(entry.name for schema in COMMANDS for entry in fields(schema))}


def test_every_word_leads_to_a_key_that_exists() -> None:
    assert [word for word, keys in SAME.items() if not set(keys) & KEYS] == []
    # in both: what one command has and another has not
    assert all(not set(SAME[word]) & set(LEAVES) for word in set(SAME) & set(NONE))


@pytest.mark.parametrize(
    ("typed", "told"),
    {
        "lr=1e-4": "unknown key lr; did you mean trainer.learning_rate?",
        "trainer.lr=1e-4": "unknown key trainer.lr; did you mean trainer.learning_rate?",
        "network_dim=8": "unknown key network_dim; did you mean lora.rank?",
        "output_dir=x": "unknown key output_dir; did you mean run.dir?",
        "epochs=3": "unknown key epochs: there are none, because a run is counted in optimizer steps; set",
        "trainer.gradient_accumulation_steps=4": "unknown key trainer.gradient_accumulation_steps: it follows by",
        "cfg_scale=7": "unknown key cfg_scale; did you mean callbacks.samples.guidance_scale?",
        "--train_batch_size=8": "unknown flag --train_batch_size=8; did you mean trainer.batch_size=8?",
    }.items(),
)
def test_train_understands_them(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


@pytest.mark.parametrize(
    ("typed", "told"),
    {
        "cfg_scale=7": "unknown key cfg_scale; did you mean guidance_scale=?",
        "sampler=euler": "unknown key sampler; did you mean scheduler=?",
        "output_dir=x": "unknown key output_dir; did you mean output=?",
        "prompt=a cat": "unknown key prompt; did you mean prompts=?",
        "steps=3": "unknown key steps; did you mean inference_steps=?",
        "--prompt": "--prompt is not key=value; did you mean prompts=?",
    }.items(),
)
def test_generate_understands_them(typed: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keywords(Options, [typed])
    assert str(caught.value) == told
