from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emote.runs.environment import peak_memory_bytes
from tests.conftest import ROOT

CPU = torch.device("cpu")


def test_the_peak_stays_after_what_made_it_is_gone() -> None:
    before = peak_memory_bytes(CPU)
    block = torch.ones(60_000_000, dtype=torch.uint8)
    del block
    after = peak_memory_bytes(CPU)
    assert before["device"] is None
    assert (after["host"] or 0) >= (before["host"] or 0) > 50_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="of Linux")
def test_the_peak_is_not_inherited_from_the_process_that_started_this_one() -> None:
    code = (
        "import subprocess, sys\n"
        "block = bytearray(b'1') * 1_500_000_000\n"
        "subprocess.run([sys.executable, '-c', 'from emote.runs.environment import _peak_resident\\n"
        "print(_peak_resident())'], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 10_000_000 < int(done.stdout) < 1_400_000_000
