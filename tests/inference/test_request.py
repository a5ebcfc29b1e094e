from __future__ import annotations

import pytest

from emote.util.errors import ConfigError
from tests.inference.conftest import request


def test_line_breaks_and_blanks_are_no_difference() -> None:
    assert request(prompt="  a\n\ncat\t") == request(prompt="a cat")


def test_a_scheduler_has_one_name_however_it_was_spelt() -> None:
    assert (
        request(scheduler="DPM++ 2M Karras") == request(scheduler="dpm++ karras") == request(scheduler="dpm++_karras")
    )


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        request(prompt=" \n", seed=-1, inference_steps=0, guidance_scale=float("nan"), width=0, scheduler="eulr")
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("prompt must say what to draw") and "did you mean euler?" in lines[-1]


def test_what_means_something_else_in_a_png_is_no_prompt() -> None:
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(ConfigError, match=f"{name} must not begin with 'Negative prompt:'"):
            request(**{name: "Negative prompt: dogs"})
        with pytest.raises(ConfigError, match=f"{name} must not name adapters"):
            request(**{name: "a cat <lora:other:1>"})


@pytest.mark.parametrize(
    "prompt", ["قطة", "🧑🏽‍🚀", "<b>cat</b> & <script>", "x" * 10_000, "{text}", 'a "cat", sitting: here']
)
def test_any_other_words_are_a_prompt(prompt: str) -> None:
    assert request(prompt=prompt).prompt == prompt
