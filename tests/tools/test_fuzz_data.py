from __future__ import annotations

from pathlib import Path

import pytest

from emote.data.item import Found
from emote.tools import fuzz_data


@pytest.mark.parametrize("seed", range(24))
def test_no_folder_ends_in_a_traceback_or_loses_a_file(seed: int, tmp_path: Path) -> None:
    assert fuzz_data.try_folder(tmp_path, seed) in ("read", "refused")


def test_a_file_that_is_dropped_without_a_word_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emote.data import prepared

    open_source = prepared.open_source

    def forgetful(data: object) -> Found:
        found = open_source(data)  # type: ignore[arg-type]
        found.files.clear()
        return found

    monkeypatch.setattr(prepared, "open_source", forgetful)
    with pytest.raises(AssertionError, match="files lie there"):
        for seed in range(24):
            (tmp_path / str(seed)).mkdir()
            fuzz_data.try_folder(tmp_path / str(seed), seed)
