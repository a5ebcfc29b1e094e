"""What runs have left so far, read from their directories; nothing is computed, no model is loaded."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emote.runs.damage import read_settings
from emote.runs.find import find_run, list_run_folders, matching_runs
from emote.runs.metrics_file import MetricsFile
from emote.runs.run_folder import RunFolder, rank_directory
from emote.sweeps.index import FILE, FINISHED, Index
from emote.util.errors import ConfigError
from emote.util.hints import nearest

ADAPTER = "pytorch_lora_weights.safetensors"
WITHIN = 5  # guesses


@dataclass(frozen=True)
class Scores:
    """Of each image, by the base model and by the adapter: the rows of a run's validation.csv or images.csv."""

    names: tuple[str, ...]
    concepts: tuple[str, ...]
    base: tuple[float, ...]
    final: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """A run at a step count. state: as in a sweep's index.  values: of the configuration, by dotted key; of a job that
    is not finished only those in which the jobs of its sweep differ.  words: what was typed, where a sweep knows it.
    rank: of a run with nested ranks, one smaller than its whole adapter's; it is a result beside the run's own, and
    `run` then is a name by which it is told from the others."""

    run: Path
    step: int
    state: str
    values: dict[str, Any]
    words: str = ""
    error: str | None = None
    log: Path | None = None
    rank: int | None = None

    @property
    def finished(self) -> bool:
        return self.state == FINISHED

    @property
    def folder(self) -> RunFolder:
        """Of the training run."""
        return RunFolder(self.run if self.rank is None else self.run.parent)

    @property
    def name(self) -> str:
        """By which every command finds the adapter."""
        return f"{self.folder.root.name}/{self.step}" + (f"/{self.run.name}" if self.rank else "")

    @property
    def path(self) -> Path:
        whole = self.folder.deliverables(self.step)
        return whole if self.rank is None else whole / rank_directory(self.rank)

    @cached_property
    def summary(self) -> dict[str, Any]:
        told = self.folder.summary(self.step)
        if self.rank is None:
            return told
        own = next(entry for entry in told["nested"] if entry["rank"] == self.rank)
        adapter = told["adapter"] | {name: own[name] for name in ("rank", "alpha", "parameters")}
        return told | {"adapter": adapter, "validation_loss": own["validation_loss"]}

    def ranks(self) -> Iterator[Result]:
        """Yield a result for each smaller rank that this run trained."""
        for told in self.summary.get("nested", ()) if self.finished and self.rank is None else ():
            if told["rank"] != self.values.get("lora.rank"):
                values = self.values | {"lora.rank": told["rank"], "lora.alpha": told["alpha"]}
                run = self.run / rank_directory(told["rank"])
                yield replace(self, run=run, values=values, rank=told["rank"])

    @cached_property
    def held_out(self) -> Scores | None:
        """Losses. None where nothing was held out, or where it is not finished."""
        return self._scores("validation.csv", "base_loss", "final_loss", float)

    @cached_property
    def recognised(self) -> Scores | None:
        """1 for an image that the judge names within five guesses, else 0. None where no images were judged."""
        return self._scores("images.csv", "base_rank", "final_rank", lambda rank: float(float(rank) <= WITHIN))

    @cached_property
    def usable(self) -> Scores | None:
        """1 for an image that a pack can take, else 0. None where no images were judged."""
        return self._scores("images.csv", "base_usable", "final_usable", float)

    def _scores(self, name: str, base: str, final: str, read: Callable[[str], float]) -> Scores | None:
        file = self.path / name
        if not self.finished or not file.exists():
            return None
        with open(file, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        return Scores(
            tuple(row["name"] for row in rows),
            tuple(row["concept"] for row in rows),
            tuple(read(row[base]) for row in rows),
            tuple(read(row[final]) for row in rows),
        )

    @cached_property
    def adapter_bytes(self) -> int:
        return (self.path / ADAPTER).stat().st_size

    @cached_property
    def training_seconds(self) -> float:
        """Of all steps so far, whichever process computed them."""
        metrics = MetricsFile(self.folder.deliverables(self.step) / "metrics.csv")
        return sum(row.get("seconds", 0.0) for row in metrics.rows())

    def image(self, number: int, kind: str) -> Path | None:
        """kind: `base` or `fine-tuned`."""
        file = self.path / "samples" / f"{number:02d}-{kind}.png"
        return file if self.finished and file.exists() else None


def gather(said: Iterable[str], runs_dir: Path = Path("runs")) -> tuple[list[Result], str | None]:
    """Return what the named sweeps and runs have, each step count once, and the command of a single sweep.

    said: directories of sweeps or runs, or their names in `runs_dir`. Raises ConfigError for what is neither.
    """
    found: dict[tuple[Path, int], Result] = {}
    commands = []
    for name in said:
        directory = find(name, runs_dir)
        if (directory / FILE).exists():
            index = Index(directory)
            commands.append(index.read()["command"])
            results = list(_of_sweep(index))
        else:
            commands.append(None)
            results = [_of_run(directory, step) for step in RunFolder(directory).delivered_steps()]
        for result in (each for whole in results for each in (whole, *whole.ranks())):
            found.setdefault((result.run.resolve(), result.step), result)
    return list(found.values()), commands[0] if len(commands) == 1 else None


def find(name: str, runs_dir: Path) -> Path:
    """Return the directory of the sweep or run that `name` means: its path, its name or the start of its identity.

    Raises ConfigError, with the nearest name, where there is none or several are meant.
    """
    sweeps = [RunFolder(path.parent) for path in sorted(runs_dir.glob(f"sweeps/*/{FILE}"))]
    for directory in (Path(name).expanduser(), runs_dir / name):
        if (directory / FILE).exists():
            return directory
    if folder := find_run(name, runs_dir):
        return folder.root
    if len(found := matching_runs(name, sweeps)) == 1:
        return found[0].root
    known = [folder.name for folder in (*sweeps, *list_run_folders(runs_dir))]
    close = nearest(Path(name).name, known)
    hint = f"did you mean {close}?" if close else f"there are {', '.join(known) or 'none'}"
    raise ConfigError(f"runs must name sweeps or runs in {runs_dir}, got {name or 'nothing'}; {hint}")


def _of_sweep(index: Index) -> Iterable[Result]:
    for entry in index.entries():
        run = index.run_of(entry)
        if RunFolder(run).is_delivered(entry.step) and entry.state == FINISHED:
            found = _of_run(run, entry.step)
            yield Result(run, entry.step, FINISHED, found.values, entry.label)
        else:
            state = entry.state if entry.state != FINISHED else "removed"
            log = index.directory / entry.log if entry.log else None
            yield Result(run, entry.step, state, entry.values, entry.label, entry.error, log)


def _of_run(run: Path, step: int) -> Result:
    settings = read_settings(RunFolder(run).deliverables(step) / "config.yaml")
    return Result(run, step, FINISHED, dict(_flat(settings)))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
