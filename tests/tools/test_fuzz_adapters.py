from __future__ import annotations

import random
from pathlib import Path

import pytest

from emote.lora import adapter_file
from emote.tools.fuzz_files.adapters import DAMAGES, build_base, main, make_case, try_file


def test_damaged_adapters_are_refused_or_read_as_they_are(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    outcomes = {try_file(tmp_path / str(seed), base, seed) for seed in range(25)}
    assert outcomes == {"refused", "used"}


def test_what_is_read_otherwise_than_it_is_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fuzz itself: a reader that loses alpha, and one that drops what it does not know."""
    monkeypatch.setattr(adapter_file, "described_alpha", lambda *_: 1.0)
    assert main(["count=12", "seed=0"]) == 1
    assert "is off by" in capsys.readouterr().err
    monkeypatch.undo()
    problem = adapter_file._problem
    monkeypatch.setattr(adapter_file, "_problem", lambda *found: problem(*found[:3], [], found[4]))
    assert main(["count=16", "seed=0"]) == 1
    assert "dropped: {" in capsys.readouterr().err


def test_every_damage_says_what_it_did(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    told = set()
    for number, damage in enumerate(DAMAGES * 4):
        case = make_case(random.Random(number), base)
        damage(case, random.Random(number))
        if case.told:
            told.add(damage.__name__)
    assert told == {damage.__name__ for damage in DAMAGES}
