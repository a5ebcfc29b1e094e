from __future__ import annotations

import pytest

from emote.util.units import readable_bytes, readable_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12 MB"), (3_210_000_000, "3.2 GB")],
)
def test_bytes_are_read_at_a_glance(count: int, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.333, "0.33 s"), (45, "45 s"), (600, "10 min"), (5400, "1.5 hours"), (72000, "20 hours"), (7e6, "81 days")],
)
def test_seconds_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text
