"""What does jobs of a sweep in other processes: joblib and Ray on this machine, Slurm and Ray on several.

Hydra's launchers for the same engines (1.2, of 2022) are not used: submitit's goes on waiting for a job that was killed
where Slurm keeps no accounts, joblib's mixes what jobs print, and Ray's no longer installs beside current packages. A
job needs nothing but its name here (see `job`), so the engines are asked themselves.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emote.config import Config, Engine
from emote.sweeps.index import WAITING, Index
from emote.sweeps.job import work
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import write_text
from emote.util.places import how_to_install

SAVING_S = 120  # before Slurm's time limit
LONGEST_LOOK_S = 10.0

Launch = Callable[[Sequence[str]], None]
"""Do the jobs of these names; returns when all have ended, however they did."""


def check_engine(config: Config) -> None:
    """Raises ConfigError where the engine is not here."""
    engine = config.launcher.engine
    if engine is Engine.slurm and shutil.which("sbatch") is None:
        raise ConfigError("launcher=slurm needs sbatch, which is not found; say the command on a node of the cluster")
    if engine in (Engine.joblib, Engine.ray) and find_spec(engine.name) is None:
        raise ConfigError(f"launcher={engine.name} needs {engine.name}: {how_to_install(engine.name)}")


@contextmanager
def engine(config: Config, directory: Path) -> Iterator[Launch]:
    """directory: the sweep's, with the jobs that were written down. Raises ConfigError where the engine refuses."""
    if config.launcher.engine is Engine.joblib:
        yield lambda names: _with_joblib(config, directory, names)
    elif config.launcher.engine is Engine.slurm:
        yield lambda names: _with_slurm(config, directory, names)
    else:
        with _ray(config) as ray:
            yield lambda names: _with_ray(ray, config, directory, names)


def _with_joblib(config: Config, directory: Path, names: Sequence[str]) -> None:
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

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


def _with_slurm(config: Config, directory: Path, names: Sequence[str]) -> None:
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


@contextmanager
def _ray(config: Config) -> Iterator[Any]:
    launcher = config.launcher
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if launcher.address is None:  # listens on the loopback device alone, as it does on other systems than Linux
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    dashboard = None if launcher.address else False  # of a cluster that runs it is not ours to say
    try:
        ray.init(
            address=launcher.address or "local",
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError) as error:
        reason = re.sub(r"\s+", " ", str(error)).strip()
        raise ConfigError(
            f"launcher.address must be a Ray cluster that answers, got {launcher.address}: {reason}"
        ) from error
    try:
        there = ray.cluster_resources().get("GPU", 0)
        if launcher.gpus > there:
            raise ConfigError(
                f"launcher.gpus must be at most what Ray sees ({there:g}), got {launcher.gpus}; 0 computes on the CPU"
            )
        yield ray
    finally:
        ray.shutdown()


def _with_ray(ray: Any, config: Config, directory: Path, names: Sequence[str]) -> None:
    launcher = config.launcher
    memory = {"memory": launcher.memory_gb * 2**30} if launcher.memory_gb else {}
    task = ray.remote(num_cpus=launcher.cpus or 1, num_gpus=launcher.gpus, max_retries=0, **memory)(work)
    running: list[Any] = []
    for name in names:
        if launcher.at_once and len(running) == launcher.at_once:
            running = _one_less(ray, running)
        running.append(task.remote(directory.absolute(), name))
    while running:
        running = _one_less(ray, running)


def _one_less(ray: Any, running: list[Any]) -> list[Any]:
    (ended,), left = ray.wait(running, num_returns=1)
    with suppress(ray.exceptions.RayError):  # a process that was killed: its job is found unfinished
        ray.get(ended)
    return left
