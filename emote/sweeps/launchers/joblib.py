"""Side by side on this machine's CPU, each job with its share of the cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emote.config import Config
from emote.sweeps.launchers import Launch

PACKAGE, KEYS, ONE_MACHINE = "joblib", ("at_once", "cpus"), True


@contextmanager
def open_launcher(config: Config, directory: Path) -> Iterator[Launch]:
    yield lambda names: _launch(config, directory, names)


def _launch(config: Config, directory: Path, names: Sequence[str]) -> None:
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from emote.sweeps.index import WAITING, Index
    from emote.sweeps.job import work

    launcher = config.launcher
    names = list(names)
    while names:
        try:
            with parallel_config("loky", inner_max_num_threads=launcher.cpus):
                Parallel(n_jobs=launcher.at_once or -1, batch_size=1)(delayed(work)(directory, name) for name in names)
            return
        except TerminatedWorkerError:  # one was killed, and joblib ends the others with it
            waiting = {entry.name for entry in Index(directory).entries() if entry.state == WAITING}
            left = [name for name in names if name in waiting]
            if len(left) == len(names):
                raise
            names = left
