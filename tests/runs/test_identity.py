from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, make_dataclass

import pytest

import emote.runs.identity as identity_module
from emote.config import Config, config_schema, key, schema_keys
from emote.runs.identity import deliverable_key, identity, identity_keys

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


NEW_KEYS = {
    "off": key("a switch that is off by default, as everything was before it", default=False, before=False),
    "better": key("a default that is another than what was done before it", default=2, before=1),
    "said": key("a key that every run has to say", default=3),
}


@pytest.fixture
def with_new_keys(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """The configuration of a later revision, whose schema has three more keys."""
    schema = make_dataclass("Later", [(name, int, entry) for name, entry in NEW_KEYS.items()], bases=(config_schema(),))
    monkeypatch.setattr(identity_module, "schema_keys", lambda: schema_keys(schema))

    def make(**values: object) -> Config:
        old = make_config("experiment=smoke")
        return schema(**{entry.name: getattr(old, entry.name) for entry in fields(old)}, **values)

    return make


def test_a_new_key_at_what_was_done_before_it_leaves_every_run_where_it_is(
    make_config: MakeConfig, with_new_keys: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(identity_module, "schema_keys", schema_keys)
        old = identity_keys(make_config("experiment=smoke"))
    assert identity_keys(with_new_keys(off=False, better=1)) == old | {"said": 3}
    assert identity_keys(with_new_keys(off=True, better=1)) == old | {"said": 3, "off": True}


def test_a_new_default_that_changes_what_is_done_makes_another_run(with_new_keys: MakeConfig) -> None:
    assert identity_keys(with_new_keys())["better"] == 2
    assert identity_of(with_new_keys()) != identity_of(with_new_keys(better=1))


def test_a_callback_of_ones_own_makes_another_run_unless_it_only_watches(make_config: MakeConfig) -> None:
    none = make_config("experiment=smoke")
    swa = make_config("experiment=smoke", "+callbacks.extra.mine={_target_: a.B, decay: 0.9}")
    other = make_config("experiment=smoke", "+callbacks.extra.mine={_target_: a.B, decay: 0.8}")
    watching = make_config("experiment=smoke", "+callbacks.extra.mine={_target_: a.B, only_watches: true}")
    assert len({identity_of(none), identity_of(swa), identity_of(other)}) == 3
    assert identity_of(watching) == identity_of(none)


def test_a_metric_that_is_not_asked_for_leaves_deliverables_where_they_are(make_config: MakeConfig) -> None:
    key = "94da9d6f626b"  # of experiment=smoke, before there were metrics
    assert deliverable_key(make_config("experiment=smoke")) == key
    assert deliverable_key(make_config("experiment=smoke", **{"callbacks.validation.metrics": "[high_noise]"})) != key
