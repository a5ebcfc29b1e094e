"""A Slurm array: this process waits, and ends with the report."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emote.config import Config
from emote.sweeps.launchers import Launch
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import write_text

KEYS = ("at_once", "cpus", "gpus", "memory_gb", "hours", "partition", "account", "sbatch", "setup")
SAVING_S = 120  # before Slurm's time limit
LONGEST_LOOK_S = 10.0


def check() -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError("launcher=slurm needs sbatch, which is not found; say the command on a node of the cluster")


@contextmanager
def open_launcher(config: Config, directory: Path) -> Iterator[Launch]:
    yield lambda names: _launch(config, directory, names)


def _launch(config: Config, directory: Path, names: Sequence[str]) -> None:
    from emote.sweeps.index import WAITING, Index

    script, logs = directory / "slurm.sh", directory / "logs"
    logs.mkdir(exist_ok=True)  # Slurm does not make it, and fails without a word
    write_text(script, _batch_script(config, directory.absolute(), names))
    submitted = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    if submitted.returncode:
        told = submitted.stderr.strip().removeprefix("sbatch: ")
        raise ConfigError(f"sbatch refused {script}:\n{told}\nsee the keys of launcher in conf/launcher/slurm.yaml")
    number = submitted.stdout.strip().split(";")[0]
    echo(f"Slurm's job {number}: {len(names)} of the sweep (squeue --jobs={number}; Ctrl-C cancels it)")
    look_s = 1.0
    try:
        while _is_queued(number):
            time.sleep(look_s)
            look_s = min(1.2 * look_s, LONGEST_LOOK_S)
    except BaseException:
        subprocess.run(["scancel", number])
        echo(f"cancelled Slurm's job {number}; its jobs save what they have")
        raise
    waiting = {entry.name for entry in Index(directory).entries() if entry.state == WAITING}
    for task, name in enumerate(names):
        if name in waiting:
            echo(f"{name} never began; see {logs / f'slurm-{number}_{task}.out'}")


def _batch_script(config: Config, directory: Path, names: Sequence[str]) -> str:
    launcher, trainer = config.launcher, config.trainer
    options: dict[str, Any] = {
        "array": f"0-{len(names) - 1}" + (f"%{launcher.at_once}" if launcher.at_once else ""),
        "job-name": directory.name,
        "output": directory / "logs" / "slurm-%A_%a.out",
        "open-mode": "append",
        "signal": f"TERM@{SAVING_S}",
        "nodes": trainer.nodes,
        "ntasks-per-node": trainer.devices,
        "cpus-per-task": launcher.cpus,
        "gpus-per-node": launcher.gpus or None,
        "mem": launcher.memory_gb and f"{launcher.memory_gb}G",
        "time": launcher.hours and math.ceil(60 * launcher.hours),
        "partition": launcher.partition,
        "account": launcher.account,
    }
    said = [f"--{name}={shlex.quote(str(value))}" for name, value in options.items() if value is not None]
    threads = [f"export OMP_NUM_THREADS={launcher.cpus}"] if launcher.cpus else []
    command = [sys.executable, "-m", "emote.sweeps.job", str(directory)]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in [*said, *launcher.sbatch]),
            *threads,
            *launcher.setup,
            f"jobs=({' '.join(map(shlex.quote, names))})",
            f'srun {shlex.join(command)} "${{jobs[$SLURM_ARRAY_TASK_ID]}}"',
            "",
        ]
    )


def _is_queued(number: str) -> bool:
    asked = subprocess.run(["squeue", "--noheader", f"--jobs={number}"], capture_output=True, text=True)
    if asked.returncode:  # of a job that it has forgotten, or because it is out of reach for a moment
        return "Invalid job id" not in asked.stderr
    return bool(asked.stdout.strip())
