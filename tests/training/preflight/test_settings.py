from __future__ import annotations

from collections.abc import Callable

import pytest

from emote.config import Config
from emote.training.preflight.settings import void_together


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"trainer.schedule": "cosine", "trainer.max_steps": 6}, "its learning rate ends at 100.000% of the peak"),
        (
            {"trainer.schedule": "linear", "trainer.max_steps": 1000},
            "trainer.schedule=linear ends at trainer.schedule_",
        ),
        ({"trainer.warmup_steps": 500, "trainer.max_steps": 4}, "never gets beyond 0.80% of its peak"),
        ({"trainer.caption_dropout": 1}, "drops every caption"),
        ({"callbacks.samples.every_steps": 5, "callbacks.samples.prompts": "[]"}, "prompts is empty"),
        ({"logger.artifact": "true"}, "logger.artifact=true has no effect"),
        ({"hub.every_steps": 5}, "hub.every_steps has no effect"),
        ({"lora.init_from": "lcm-lora.safetensors"}, "trainer.objective=mse unlearns"),
    ],
)
def test_what_is_void_together_is_told(make_config: Callable[..., Config], words: dict[str, object], told: str) -> None:
    (line,) = void_together(make_config("experiment=smoke", **words))
    assert told in line


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"trainer.schedule": "cosine", "trainer.schedule_steps": "max_steps"},
        {"trainer.schedule": "cosine", "trainer.max_steps": 6, "trainer.schedule_steps": 12},
        {"trainer.warmup_steps": 5, "trainer.max_steps": 6},
    ],
)
def test_what_works_together_is_not(make_config: Callable[..., Config], words: dict[str, object]) -> None:
    assert list(void_together(make_config("experiment=smoke", **words))) == []
