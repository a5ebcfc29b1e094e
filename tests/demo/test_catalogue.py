from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from emote.demo.catalogue import BASE_ONLY, Catalogue, without_template
from emote.runs.find import find_run
from emote.util.errors import ConfigError

OTHER, QUICKSTART = "other-0123456789ab", "quickstart-ba9876543210"


@pytest.mark.parametrize(("newest", "older"), [(OTHER, QUICKSTART), (QUICKSTART, OTHER)])
def test_the_newest_run_is_opened_with_as_everywhere_and_the_base_alone_comes_last(
    runs_dir: Path, tmp_path: Path, newest: str, older: str
) -> None:
    runs = shutil.copytree(runs_dir, tmp_path / "runs")
    os.utime(runs / newest / "steps" / "000020" / "summary.json", (time.time() + 60, time.time() + 60))
    assert list(Catalogue(runs).choices) == [f"{newest}/20", f"{older}/20", BASE_ONLY]
    latest = find_run("latest", runs)
    assert latest is not None and Catalogue(runs).first.label == f"{latest.name}/20"


def test_the_run_that_is_named_is_opened_with(runs_dir: Path) -> None:
    assert Catalogue(runs_dir, "other").first.label == "other-0123456789ab/20"
    assert Catalogue(runs_dir, "base").first.label == BASE_ONLY
    with pytest.raises(ConfigError, match="run=nothing-here"):
        Catalogue(runs_dir, "nothing-here")


def test_without_a_run_there_is_the_miniature(tmp_path: Path) -> None:
    only = Catalogue(tmp_path / "none").first
    assert (only.label, only.model.path, only.adapter, only.side_px) == (BASE_ONLY, "weights/mini", None, 128)


def test_a_run_that_ends_while_the_page_is_open_joins_the_list(runs_dir: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    assert not catalogue.has_adapters
    shutil.copytree(runs_dir / "other-0123456789ab", tmp_path / "new-0123456789ab")
    catalogue.refresh()
    assert catalogue.first.label == "new-0123456789ab/20"


def test_the_base_alone_is_that_of_the_runs(runs_dir: Path) -> None:
    choices = Catalogue(runs_dir).choices
    assert choices[BASE_ONLY].model == choices["other-0123456789ab/20"].model


@pytest.mark.parametrize(
    "name", ["", "fairy", "../../etc/passwd", "owner/../..", "~/runs", "<b>", "/etc/passwd", "C:/x"]
)
def test_what_is_no_hub_name_is_looked_for_nowhere(runs_dir: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a Hub name is owner/name"):
        Catalogue(runs_dir).from_hub(name)


@pytest.mark.parametrize(
    ("prompt", "template", "words"),
    [
        ("An emoji of a fairy, openmoji style", "An emoji of {text}, openmoji style", "a fairy"),
        ("a fairy", "An emoji of {text}", "a fairy"),
        ("An emoji of a fairy", None, "An emoji of a fairy"),
        ("An emoji of ", "An emoji of {text}", "An emoji of "),
    ],
)
def test_examples_are_shown_without_the_words_of_the_template(prompt: str, template: str | None, words: str) -> None:
    assert without_template(prompt, template) == words
