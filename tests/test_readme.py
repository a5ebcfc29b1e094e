"""The commands of the README and of docs/ are commands, and what they link exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from emote.__main__ import main as emote
from emote.cli.keys import LEAVES
from emote.cli.train import compose_config, main
from emote.config import GROUPS
from tests.conftest import ROOT, first_job

README = (ROOT / "README.md").read_text()
# docs/extending.md is run by tests/test_extending.py
PAGES = {path: path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}
TEXT = "\n".join(text for path, text in PAGES.items() if path.name != "extending.md").replace("\\\n", " ")
COMMANDS = [
    match.group(1).split(" #")[0].strip()
    for match in re.finditer(r"^(?:!cd emote && )?(?:python train\.py|emote train) (.*)$", TEXT, re.MULTILINE)
]
EMOTE = [match.group(1).split(" #")[0].strip() for match in re.finditer(r"^emote (?!train)(.*)$", TEXT, re.MULTILINE)]


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--help" not in line])
def test_every_training_command_composes(line: str) -> None:
    words = [word for word in shlex.split(line) if word not in ("-m", "--cfg", "job")]
    compose_config(first_job(words))


def test_the_mistakes_that_the_readme_shows_are_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words, shown = re.findall(r"^\$ python train\.py (.*)\n((?:.+\n)+?)```", README, re.MULTILINE)[0]
    assert main(shlex.split(words)) == 2
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("line", EMOTE)
def test_every_other_command_exists_with_its_keys(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)
    name = words[: 2 if words[0] in ("tools", "data", "compare") else 1]
    assert emote([*name, "--help"]) == 0
    text = capsys.readouterr().out
    typed = {word.partition("=")[0] for word in words[len(name) :]}
    ours = set(re.findall(r"^  (\w+)  ", text, re.MULTILINE))
    assert typed <= (ours | {*LEAVES, *GROUPS} if "`emote train`" in text else ours)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 8 and len(EMOTE) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_image_file_and_heading_that_a_page_links_exists(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", PAGES[page])
    for target in [link or image for link, image in targets if "://" not in link]:
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}, target


def test_the_readme_links_images_and_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#\s]+)", README))
    assert "docs/quickstart.png" in links
    assert {str(page.relative_to(ROOT)) for page in PAGES if page.name != "README.md"} <= links


def test_every_group_and_option_of_the_table_exists() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]+`) \|", TEXT, re.MULTILINE)
    groups = {group: re.findall(r"`([\w/]+)`", options) for group, options in rows if (ROOT / "conf" / group).is_dir()}
    # evaluation/ names judges, which belong to a base model and not to a run
    assert {*groups, "evaluation"} == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    for group, options in groups.items():
        there = {
            str(p.relative_to(ROOT / "conf" / group).with_suffix("")) for p in (ROOT / "conf" / group).rglob("*.yaml")
        }
        assert set(options) == {option for option in there if not option.rsplit("/", 1)[-1].startswith("_")}
