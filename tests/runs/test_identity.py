from __future__ import annotations

from collections.abc import Callable

import pytest

from emote.config import Config
from emote.runs.identity import identity, identity_keys

MakeConfig = Callable[..., Config]


def identity_of(config: Config) -> str:
    return identity(config, "data", {"unet": "weights"})


@pytest.mark.parametrize("background", ["white", "'#ffffff'"])
def test_what_is_said_of_other_colours_is_no_part_of_a_run_over_white(make_config: MakeConfig, background: str) -> None:
    config = make_config("experiment=smoke", **{"data.background": background})
    assert "data.background_caption" not in identity_keys(config)
    silent = make_config("experiment=smoke", **{"data.background": background, "data.background_caption": None})
    assert identity_of(silent) == identity_of(config)


@pytest.mark.parametrize("background", ["green", "random"])
def test_a_background_and_what_is_said_of_it_make_another_run(make_config: MakeConfig, background: str) -> None:
    names = {
        identity_of(make_config("experiment=smoke")),
        identity_of(make_config("experiment=smoke", **{"data.background": background})),
        identity_of(
            make_config("experiment=smoke", **{"data.background": background, "data.background_caption": None})
        ),
    }
    assert len(names) == 3
