"""What does jobs of a sweep in other processes, on this machine or on several: one file a launcher.

Hydra's launchers for the same engines (1.2, of 2022) are not used: submitit's goes on waiting for a job that was killed
where Slurm keeps no accounts, joblib's mixes what jobs print, and Ray's no longer installs beside current packages. A
job needs nothing but its name here (see `emote.sweeps.job`), so the engines are asked themselves.

Each file has KEYS, which of the keys of `launcher` it reads; ONE_MACHINE, where a job cannot have several; and
open_launcher, a context that gives what does the jobs of these names, and returns when all have ended, however they
did. It may have `check`, which raises ConfigError where the engine is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emote.config import LAUNCHER, Config

Launch = Callable[[Sequence[str]], None]


def check_launcher(config: Config) -> None:
    """Raises ConfigError where the launcher is not here."""
    engine = config.launcher.engine
    LAUNCHER.require("launcher", engine)
    if isinstance(engine, str):
        getattr(LAUNCHER.load(engine), "check", lambda: None)()
