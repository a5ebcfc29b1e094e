"""Where a run keeps what: runs/<name>-<identity>/."""

from __future__ import annotations

import re
from pathlib import Path

from emote.runs.metrics_file import MetricsFile

SNAPSHOTS = "snapshots"  # folders of steps on the way, and what going on elsewhere needs


class RunFolder:
    """checkpoints/, steps/<NNNNNN>/ (finished deliverables), samples/ (on the way), best/, metrics.csv, run.log.

    Where the run is pushed to the Hub also hub.json, and snapshots/<NNNNNN>/ of what is on its way there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics = MetricsFile(root / "metrics.csv")
        self.log = root / "run.log"

    def checkpoint(self, step: int) -> Path:
        return self.root / "checkpoints" / f"{step:06d}.ckpt"

    def deliverables(self, step: int) -> Path:
        return self.root / "steps" / f"{step:06d}"

    def snapshot(self, step: int) -> Path:
        return self.root / SNAPSHOTS / f"{step:06d}"

    def best_adapter(self, step: int) -> Path:
        """The adapter at a step whose held-out loss was the lowest so far."""
        return self.root / "best" / f"{step:06d}.safetensors"

    def checkpoint_steps(self) -> list[int]:
        return sorted(int(p.stem) for p in (self.root / "checkpoints").glob("*.ckpt") if re.fullmatch(r"\d+", p.stem))

    def delivered_steps(self) -> list[int]:
        return sorted(int(p.parent.name) for p in (self.root / "steps").glob("[0-9]*/summary.json"))

    def latest_checkpoint(self, at_most: int) -> int:
        """The furthest saved step within `at_most`; 0 where there is none."""
        return max((step for step in self.checkpoint_steps() if step <= at_most), default=0)

    def prune_checkpoints(self, newest: int) -> None:
        """Keep the newest, the one before it (should the disk have lied), and those of finished step counts."""
        steps = self.checkpoint_steps()
        before = [step for step in steps if step < newest][-1:]
        for step in steps:
            if step < newest and step not in before and step not in self.delivered_steps():
                self.checkpoint(step).unlink()
