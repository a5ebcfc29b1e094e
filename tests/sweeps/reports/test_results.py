from __future__ import annotations

from pathlib import Path

import pytest

from emote.runs.damage import Damaged
from emote.runs.run_folder import RunFolder
from emote.sweeps.reports.results import gather


@pytest.mark.parametrize("content", [b"", b"text", b"[1]", b"a: [", b"\xff\xfe", b"\0", None])
def test_a_damaged_configuration_of_a_run_is_told(tmp_path: Path, content: bytes | None) -> None:
    folder = RunFolder(tmp_path / "smoke-aaa111222333").deliverables(4)
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    if content is not None:
        (folder / "config.yaml").write_bytes(content)
    with pytest.raises(Damaged, match=r"000004/config\.yaml (cannot be read|is damaged)"):
        gather(["smoke"], tmp_path)
