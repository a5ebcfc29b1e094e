"""Runs that are nearly another one, and directories that were renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emote.runs.run_folder import RunFolder
from emote.runs.siblings import facts_of, siblings, true_identity


def make(directory: Path, name: str, step: int = 6, data: str = "d", **science: object) -> tuple[RunFolder, Any]:
    folder = RunFolder(directory / name)
    facts = facts_of(folder.identity, {"lora.rank": 4, "seed": 1, **science}, data, {"unet": "u"})
    folder.root.mkdir(parents=True)
    folder.note_facts(facts)
    if step:
        folder.checkpoint(step).parent.mkdir()
        folder.checkpoint(step).write_bytes(b"x")
    return folder, facts


def test_a_run_that_differs_in_one_key_is_named_with_it(tmp_path: Path) -> None:
    make(tmp_path, "smoke-aaaaaaaaaaaa", step=6)
    new, facts = make(tmp_path, "smoke-bbbbbbbbbbbb", step=0, **{"lora.rank": 8})
    (line,) = siblings(new, facts)
    assert line == (
        f"{tmp_path}/smoke-aaaaaaaaaaaa (at step 6) differs from this new run in lora.rank (4 there, 8 here) alone; "
        "set the same to go on with it"
    )


def test_the_same_run_under_another_name_is_told_in_quotes(tmp_path: Path) -> None:
    make(tmp_path / "My Drive", "my best")
    new, facts = make(tmp_path / "My Drive", "smoke-bbbbbbbbbbbb", step=0)
    (line,) = siblings(new, facts)
    assert f"is this run under another name; 'resume_from={tmp_path}/My Drive/my best' goes on from it" in line


def test_other_images_are_named_and_what_differs_in_much_is_not(tmp_path: Path) -> None:
    make(tmp_path, "smoke-aaaaaaaaaaaa", data="other")
    make(tmp_path, "smoke-cccccccccccc", data="other", **{"lora.rank": 1, "seed": 9})
    make(tmp_path, "smoke-dddddddddddd", step=0)
    (tmp_path / "smoke-aaaaaaaaaaaa" / "notes.txt").write_text("mine")
    new, facts = make(tmp_path, "smoke-bbbbbbbbbbbb", step=0)
    (line,) = siblings(new, facts)
    assert "smoke-aaaaaaaaaaaa (at step 6) differs from this new run in the images alone" in line


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"science": 3}'])
def test_a_damaged_note_makes_no_sibling(tmp_path: Path, content: str) -> None:
    other, _ = make(tmp_path, "smoke-aaaaaaaaaaaa")
    (other.root / "identity.json").write_text(content)
    new, facts = make(tmp_path, "smoke-bbbbbbbbbbbb", step=0)
    assert list(siblings(new, facts)) == []


def test_a_renamed_run_tells_its_identity(tmp_path: Path) -> None:
    folder, _ = make(tmp_path, "smoke-aaaaaaaaaaaa")
    renamed = folder.root.rename(tmp_path / "my-best")
    assert true_identity(renamed) == "aaaaaaaaaaaa"
    (renamed / "identity.json").unlink()
    assert true_identity(renamed) is None
    (renamed / "steps" / "000006").mkdir(parents=True)
    (renamed / "steps" / "000006" / "summary.json").write_text('{"identity": "cccccccccccc"}')
    assert true_identity(renamed) == "cccccccccccc"
