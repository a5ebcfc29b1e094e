"""metrics.csv: one row a step, no gaps and no doubles however often the run was interrupted."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

from emote.util.files import append_text, patiently, write_text

COLUMNS = ("step", "loss", "learning_rate", "grad_norm", "stuck_share", "validation_loss", "seconds")
Row = dict[str, float]


class MetricsFile:
    """Append-only while training. Values that were not measured at a step are empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Row]:
        """Return the complete rows in order; a line that was cut off by a crash, or is damaged, is not one."""
        if not self.path.exists():
            return []
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        lines = text[: text.rfind("\n") + 1].split("\n")
        names = lines.pop(0).split(",") if lines[0].startswith("step,") else list(COLUMNS)
        found: list[Row] = []
        for line in lines:
            values = line.rstrip("\r").split(",")  # no column has a comma or a quote
            with suppress(ValueError):
                row = {name: float(value) for name, value in zip(names, values, strict=True) if value}
                if row.get("step", 0.0).is_integer() and row.get("step", 0) > (found[-1]["step"] if found else 0):
                    found.append(row)
        return found

    def keep_until(self, step: int) -> int:
        """Forget rows after `step`: they will be computed again. Returns the last step that is left."""
        kept = [row for row in self.rows() if row["step"] <= step]
        _write(self.path, kept)
        return int(kept[-1]["step"]) if kept else 0

    def append(self, row: Row) -> None:
        patiently(lambda: append_text(self.path, _line(row)))

    def add_validation(self, step: int, loss: float) -> None:
        """Fill in a loss that an earlier, longer run did not measure at this step."""
        rows = self.rows()
        for row in rows:
            if row["step"] == step:
                row["validation_loss"] = loss
        _write(self.path, rows)

    def copy_until(self, step: int, path: Path) -> list[Row]:
        """Write the rows up to `step` to another file, and return them."""
        kept = [row for row in self.rows() if row["step"] <= step]
        _write(path, kept)
        return kept


def _write(path: Path, rows: list[Row]) -> None:
    write_text(path, "".join([",".join(COLUMNS) + "\n", *map(_line, rows)]))


def _line(row: Row) -> str:
    return ",".join(_text(name, row.get(name)) for name in COLUMNS) + "\n"


def _text(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(int(value)) if name == "step" else repr(round(value, 4)) if name == "seconds" else repr(float(value))
