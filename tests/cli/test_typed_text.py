"""Names, paths and prompts are text, whatever they look like; what may not be meant is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from emote.cli.train import compose_config
from emote.cli.train import main as train
from emote.config import Config
from emote.util.errors import ConfigError

SMOKE = "experiment=smoke"


def composed(*words: str) -> Config:
    return compose_config([SMOKE, *words])


@pytest.mark.parametrize("name", ["12E34", "007", "1_000", "true", "1e3", "nan", "my run", "caf\u00e9", "a.b"])
def test_a_name_is_the_text_that_was_typed(name: str) -> None:
    assert composed(f"name={name}").name == name


@pytest.mark.parametrize(
    "name", ["me/openmoji", "../up", "", ".", ".hidden", "~", "~/x", "a\\\\b", "x.old1", "a" * 101, "-x"]
)
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name must be a folder's name"):
        composed(f'name="{name}"' if "\\" in name else f"name={name}")


@pytest.mark.parametrize("key", ["run.dir", "run.cache_dir", "model.path", "lora.init_from"])
def test_paths_have_home_and_variables(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def value(text: str) -> str:
        found: object = composed(f"{key}={text}")
        for part in key.split("."):
            found = getattr(found, part)
        return str(found)

    monkeypatch.setenv("PLACE", "/some where")
    monkeypatch.delenv("UNSET", raising=False)
    assert value("~/x") == str(Path.home() / "x")
    assert value("$PLACE/x") == "/some where/x"
    assert value("12E34") == "12E34"
    with pytest.raises(ConfigError, match=rf"{key} has \$UNSET, which is not set in the environment"):
        value("$UNSET/x")
    with pytest.raises(ConfigError, match=f"{key} must be a path, got nothing; is a variable of the shell empty"):
        value("")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=1", "seed=2"], "note: seed is set more than once; the last counts: seed=2"),
        (["callbacks.samples.prompts=[a robot, with a hat]"], "has 2 texts, a robot | with a hat; quotes keep a comma"),
    ],
)
def test_what_may_not_be_meant_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    composed(*words)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["seed=2"], ["callbacks.samples.prompts=[]"], ['callbacks.samples.prompts=["a, b c"]']]
)
def test_what_is_plain_is_not(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    composed(*words)
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("lora.alpha=1e30", "lora.alpha must be at most 65504 × lora.rank"),
        ("trainer.max_steps=1e3", "trainer.max_steps must be an integer, got 1000.0; write 1000"),
        (
            "callbacks.samples.prompts=[a (robot:1.3)]",
            """quote each text: 'callbacks.samples.prompts=["a (robot:1.3)"]'""",
        ),
        ("sampler=euler", "unknown key sampler: samples are drawn with one sampler"),
        ("trainer.schedule=cosine_with_restarts", "did you mean cosine?"),
    ],
)
def test_the_way_out_is_told(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train([SMOKE, word]) == 2
    assert told in (said := capsys.readouterr().err) and "mistakes" not in said


def test_an_experiment_without_its_header_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("lora:\n  rank: 2\ntrainer:\n  max_steps: 3\nseed: 1\n")
    assert train([f"--config-dir={tmp_path}", "experiment=mine"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "mine.yaml: its first line must be: # @package _global_" in said
