"""The README's commands are commands."""

from __future__ import annotations

import re
import shlex

import pytest

from emote.__main__ import main as emote
from emote.cli.keys import LEAVES
from emote.cli.train import compose_config, main
from emote.config import GROUPS
from tests.conftest import ROOT, first_job

TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    match.group(1).split("#")[0].strip()
    for match in re.finditer(r"^(?:!cd emote && )?python train\.py (.*)$", TEXT.replace("\\\n", " "), re.MULTILINE)
]

EMOTE = [
    match.group(1).split(" #")[0].strip()
    for match in re.finditer(r"^emote (?!train)(.*)$", TEXT.replace("\\\n", " "), re.MULTILINE)
]


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--help" not in line])
def test_every_command_of_the_readme_composes(line: str) -> None:
    words = [word for word in shlex.split(line) if word not in ("-m", "--cfg", "job")]
    compose_config(first_job(words))


def test_the_mistakes_that_the_readme_shows_are_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words, shown = re.findall(r"^\$ python train\.py (.*)\n((?:.+\n)+?)```", TEXT, re.MULTILINE)[0]
    assert main(shlex.split(words)) == 2
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("line", EMOTE)
def test_every_other_command_of_the_readme_exists_with_its_keys(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)
    name = words[: 2 if words[0] in ("tools", "data") else 1]
    assert emote([*name, "--help"]) == 0
    text = capsys.readouterr().out
    typed = {word.partition("=")[0] for word in words[len(name) :]}
    ours = set(re.findall(r"^  (\w+)  ", text, re.MULTILINE))
    assert typed <= (ours | {*LEAVES, *GROUPS} if "`emote train`" in text else ours)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 8 and len(EMOTE) >= 8


def test_every_image_and_file_that_the_readme_links_exists() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_group_and_option_of_the_table_exists() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]+`) \|", TEXT, re.MULTILINE)
    groups = {group: re.findall(r"`([\w/]+)`", options) for group, options in rows if (ROOT / "conf" / group).is_dir()}
    assert set(groups) == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    for group, options in groups.items():
        there = {
            str(p.relative_to(ROOT / "conf" / group).with_suffix("")) for p in (ROOT / "conf" / group).rglob("*.yaml")
        }
        assert set(options) == {option for option in there if not option.rsplit("/", 1)[-1].startswith("_")}
