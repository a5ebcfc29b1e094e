"""Amounts as people read them."""

from __future__ import annotations


def readable_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def readable_seconds(seconds: float) -> str:
    """0.33 s, 45 s, 10 min, 1.5 hours, 20 hours, 4 days."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    for limit, size, unit in ((120, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    if seconds < 172800:
        return f"{seconds / 3600:.{int(seconds < 36000)}f} hours"
    return f"{seconds / 86400:,.0f} days"
