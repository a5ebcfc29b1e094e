"""Where a run keeps what: runs/<title>-<identity>/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from emote.runs.damage import Damaged, read_state
from emote.runs.metrics_file import MetricsFile
from emote.util.files import write_json

ASIDE = ".old"  # in the name of a run that was begun again
SNAPSHOTS = "snapshots"  # folders of steps on the way, and what going on elsewhere needs
RANK = "rank-"
CALLBACK, PLATEAU = "callback", "plateau"  # what ended a run


class RunFolder:
    """checkpoints/, steps/<NNNNNN>/ (finished deliverables), samples/ (on the way), best/, metrics.csv, run.log.

    Where the run is pushed to the Hub also hub.json, and snapshots/<NNNNNN>/ of what is on its way there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics = MetricsFile(root / "metrics.csv")
        self.log = root / "run.log"
        self.arithmetic = root / "arithmetic.json"  # on what the first steps were computed
        self._noted = root / "checkpoints" / "newest.json"

    @property
    def name(self) -> str:
        """`<title>-<identity>`."""
        return self.root.resolve().name

    @property
    def title(self) -> str:
        """What the configuration calls the run."""
        return title_of(self.name)

    @property
    def identity(self) -> str:
        return identity_of(self.name)

    def note_facts(self, facts: dict[str, Any]) -> None:
        """Keep what the run's identity is made of, so that another run can say in what it differs."""
        write_json(self.root / "identity.json", facts)

    def facts(self) -> dict[str, Any]:
        """Return what `note_facts` kept, {} where it cannot be read."""
        try:
            told = read_state(self.root / "identity.json")
        except Damaged:
            return {}
        return told if isinstance(told.get("identity"), str) else {}

    @property
    def is_aside(self) -> bool:
        """Whether run.fresh=true moved it out of the way of another beginning."""
        return ASIDE in self.name

    @property
    def is_run(self) -> bool:
        """Whether a run began here."""
        return (self.root / "checkpoints").is_dir() or self.arithmetic.is_file() or bool(self.delivered_steps())

    def checkpoint(self, step: int) -> Path:
        return self.root / "checkpoints" / f"{step:06d}.ckpt"

    def deliverables(self, step: int) -> Path:
        return self.root / "steps" / f"{step:06d}"

    def snapshot(self, step: int) -> Path:
        return self.root / SNAPSHOTS / f"{step:06d}"

    def best_adapter(self, step: int) -> Path:
        """Return the adapter at a step whose held-out loss was the lowest so far."""
        return self.root / "best" / f"{step:06d}.safetensors"

    def checkpoint_steps(self) -> list[int]:
        return sorted(int(p.stem) for p in (self.root / "checkpoints").glob("*.ckpt") if _is_step(p.stem))

    def delivered_steps(self) -> list[int]:
        return sorted(
            int(p.parent.name) for p in (self.root / "steps").glob("[0-9]*/summary.json") if _is_step(p.parent.name)
        )

    def last_deliverables(self) -> Path | None:
        """Return the directory of the largest finished step count."""
        steps = self.delivered_steps()
        return self.deliverables(steps[-1]) if steps else None

    def summary(self, step: int) -> dict[str, Any]:
        """Return the summary of a finished step count. Raises Damaged where it cannot be read."""
        return read_state(self._summary_file(step))

    def is_delivered(self, step: int) -> bool:
        return self._summary_file(step).is_file()

    def finished_at(self) -> float:
        """Return when a step count was finished last, in seconds since the epoch; 0 where none was."""
        return max((self._summary_file(step).stat().st_mtime for step in self.delivered_steps()), default=0.0)

    def latest_checkpoint(self, at_most: int | None = None) -> int:
        """Return the furthest saved step, within `at_most` if given; 0 where there is none."""
        return max((step for step in self.checkpoint_steps() if at_most is None or step <= at_most), default=0)

    def held_out_losses(self, step: int) -> Path:
        """Of each held-out image at a step, where the run may end at a plateau."""
        return self.root / "held_out" / f"{step:06d}.json"

    def note_stop(self, step: int, by: str = CALLBACK) -> None:
        """A callback has ended the run at a step: however long it was to be, it has no more."""
        write_json(self.root / "stopped.json", {"step": step, "by": by})

    def stopped_at(self, at_plateau: bool = False) -> int | None:
        """Return the step at which a callback ended the run; None where none did.

        at_plateau: whether a plateau counts, which ends only the runs that ask for it.
        """
        file = self.root / "stopped.json"
        if not file.exists():
            return None
        told = read_state(file)
        return int(told["step"]) if at_plateau or told.get("by", CALLBACK) == CALLBACK else None

    def note_saved(self, step: int) -> None:
        """A checkpoint was written: should it be gone one day, that can be told."""
        if step >= self.noted_step():
            write_json(self._noted, {"step": step})

    def noted_step(self) -> int:
        """Return the furthest step that was ever saved, as far as it is known; 0 where it is not."""
        try:
            return int(read_state(self._noted)["step"])
        except (Damaged, KeyError, TypeError, ValueError):
            return 0

    def prune_checkpoints(self, newest: int) -> None:
        """Keep the newest, the one before it (should the disk have lied), and those of finished step counts."""
        steps = self.checkpoint_steps()
        before = [step for step in steps if step < newest][-1:]
        for step in steps:
            if step < newest and step not in before and step not in self.delivered_steps():
                self.checkpoint(step).unlink()

    def _summary_file(self, step: int) -> Path:
        return self.deliverables(step) / "summary.json"


def _is_step(name: str) -> bool:
    """Return whether a file or directory is called as those of a step are; a copy of one is not."""
    return re.fullmatch(r"[0-9]+", name) is not None and name == f"{int(name):06d}"


def rank_directory(rank: int) -> str:
    """Return where in the deliverables of a run with nested ranks (`lora.nested`) the adapter of a smaller one lies."""
    return f"{RANK}{rank}"


def title_of(run_name: str) -> str:
    """Return the part of a name before its identity: of `quickstart-e95ba875b33e` `quickstart`."""
    return run_name.rpartition("-")[0]


def identity_of(run_name: str) -> str:
    """Return the identity in a name: of `quickstart-e95ba875b33e` `e95ba875b33e`."""
    return run_name.rpartition("-")[2]
