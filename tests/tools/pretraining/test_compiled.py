from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emote.tools.pretraining.compiled import pays

GOOD = {"error": 0.01, "finite": True, "eager_s": 0.06, "compiled_s": 0.03}


def ended(seconds: float = 0) -> subprocess.Popen[bytes]:
    trial = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    if not seconds:
        trial.wait()
    return trial


@pytest.mark.parametrize(
    "change, expected",
    [({}, True), ({"error": 0.2}, False), ({"finite": False}, False), ({"compiled_s": 0.055}, False)],
)
def test_compiling_pays_where_it_computes_the_same_and_faster(
    tmp_path: Path, change: dict[str, object], expected: bool
) -> None:
    (tmp_path / "trial.json").write_text(json.dumps(GOOD | change))
    assert pays(tmp_path / "trial.json", ended())[0] is expected


def test_a_trial_that_still_runs_is_ended_and_says_nothing(tmp_path: Path) -> None:
    trial = ended(60)
    assert pays(tmp_path / "trial.json", trial) == (False, {})
    assert trial.poll() is not None
