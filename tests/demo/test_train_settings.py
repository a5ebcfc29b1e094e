from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emote.cli.train import compose_config
from emote.demo.train_settings import BASES, Settings, train_words
from emote.util.errors import ConfigError

GOOD = Settings("mine", "myblob", next(iter(BASES)), 200, "a robot\na cat's \"face\", {x} \\'")


@pytest.mark.parametrize("base", BASES)
def test_the_settings_compose_to_what_was_typed(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "My Drive (1), it's=here"
    folder.mkdir()
    config = compose_config(train_words(replace(GOOD, base=base), folder, folder / "runs", ["seed=7"]))
    assert (config.name, config.data.trigger, config.data.path) == ("mine", "myblob", str(folder))
    assert (config.run.dir, config.seed, config.trainer.max_steps) == (str(folder / "runs"), 7, 200)
    assert 'a cat\'s "face", {x}' in " ".join(config.callbacks.samples.prompts)
    assert config.callbacks.samples.every_steps == config.callbacks.checkpoint.every_steps == 50


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "../up"}, "a name has"), ({"name": ""}, "a name has"), ({"name": "a b"}, "a name has"),
        ({"name": "x" * 50}, "a name has"), ({"trigger": "two words"}, "one word"), ({"base": "other"}, "the base"),
        ({"steps": 0}, "steps must be"), ({"steps": 10**9}, "steps must be"), ({"prompts": " \n"}, "write 1 to"),
        ({"prompts": "x\n" * 9}, "write 1 to"),
        ({"prompts": "a\n${oc.env:HF_TOKEN}"}, "cannot hold"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        train_words(replace(GOOD, **change), Path("x"), Path("runs"), [])  # type: ignore[arg-type]
