"""A job of a sweep in a process of its own: what it has to do is read from the sweep's directory.

`python -m emote.sweeps.job DIRECTORY NAME` is what Slurm starts; joblib and Ray call `work`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from omegaconf import OmegaConf

from emote.config import to_dataclass
from emote.sweeps.index import Index, output_of
from emote.sweeps.plan import Job
from emote.util.errors import ConfigError
from emote.util.files import write_text
from emote.util.quiet import quiet_libraries


def write_job(job: Job, directory: Path) -> None:
    """As it was composed when the sweep began: by its turn, somebody may have edited conf/."""
    write_text(directory / "jobs" / f"{job.name}.yaml", OmegaConf.to_yaml(OmegaConf.structured(job.config)))


def work(directory: Path, name: str) -> int:
    """Do a job that was written down; returns its exit code. How it ended stands in the sweep's index."""
    with _printing_to(directory / output_of(name)):
        quiet_libraries()
        from emote.sweeps.sweep import run_in_sweep
        from emote.util.interrupt import Interrupted

        config = to_dataclass(OmegaConf.load(directory / "jobs" / f"{name}.yaml"))  # type: ignore[arg-type]
        entries = Index(directory).entries()
        words = next(entry.words for entry in entries if entry.name == name)
        try:
            run_in_sweep(config, words, directory)
        except Interrupted as stopped:
            print(stopped)
            return 128 + stopped.signal_number
        except ConfigError as error:
            print(f"error: {error}")
            return 2
        except Exception:
            traceback.print_exc()
            return 1
    return 0


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Everything that this process prints, whatever prints it. Jobs side by side on one terminal could not be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with open(path, "a", buffering=1, encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, before in kept:
                os.dup2(before, number)
                os.close(before)


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), sys.argv[2]))
