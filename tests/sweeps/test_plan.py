"""What is wrong with a sweep is found before its first job: here, where its runs are pushed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from emote.cli.train import compose_config, main
from emote.sweeps.plan import Plan, plan
from emote.util.errors import ConfigError


@pytest.fixture
def words(sweep_words: list[str], tmp_path: Path) -> list[str]:
    swept = ("-m", "lora.rank=", "trainer.max_steps=")
    return [word for word in sweep_words if not word.startswith(swept)] + [f"run.dir={tmp_path}", "hub.push=true"]


def planned(words: list[str], *jobs: list[str]) -> Plan:
    said = [[*words, *job] for job in jobs]
    return plan([(line, compose_config(line)) for line in said])


TWO = ["lora.rank=2"], ["lora.rank=4"]


def test_two_runs_are_not_pushed_over_each_other(words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        planned([*words, "hub.repo=me/emoji"], *TWO)
    assert str(error.value) == (
        "hub.repo must be another one for each run, got me/emoji for 2 runs, the first two lora.rank=2 and lora.rank=4;"
        " set hub.repo=null (each goes to <you>/<name>-<identity>), or name what differs:"
        " 'hub.repo=me/emoji-${lora.rank}'"
    )


def test_what_is_advised_is_taken(words: list[str]) -> None:
    assert len(planned([*words, "hub.repo=null"], *TWO).runs) == 2
    named = planned([*words, "hub.repo=me/emoji-${lora.rank}"], *TWO)
    assert [job.config.hub.repo for job in named.jobs] == ["me/emoji-2", "me/emoji-4"]


def test_the_step_counts_of_one_run_share_its_repository(words: list[str]) -> None:
    steps = ["trainer.max_steps=2"], ["trainer.max_steps=4"]
    assert len(planned([*words, "hub.repo=me/emoji"], *steps).runs) == 1


def test_a_repository_that_nothing_is_pushed_to_is_no_matter(words: list[str]) -> None:
    assert len(planned([*words, "hub.push=false", "hub.repo=me/emoji"], *TWO).runs) == 2


def test_it_is_told_before_the_first_job_starts(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *words, "hub.repo=me/emoji", "lora.rank=2,4", "trainer.max_steps=2"]) == 2
    assert "hub.repo must be another one for each run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
