"""Tasks of Ray, on this machine or on a cluster, each with GPUs of its own."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emote.config import Config
from emote.sweeps.launchers import Launch
from emote.util.errors import ConfigError

PACKAGE, KEYS, ONE_MACHINE = "ray", ("at_once", "cpus", "gpus", "memory_gb", "address"), True


@contextmanager
def open_launcher(config: Config, directory: Path) -> Iterator[Launch]:
    """Raises ConfigError where no cluster answers."""
    with _ray(config) as ray:
        yield lambda names: _launch(ray, config, directory, names)


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


def _launch(ray: Any, config: Config, directory: Path, names: Sequence[str]) -> None:
    from emote.sweeps.job import work

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
