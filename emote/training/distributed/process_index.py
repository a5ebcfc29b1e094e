"""Which of the processes that train one run together this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment

from emote.config import Config
from emote.util.errors import ConfigError


@dataclass(frozen=True)
class ProcessIndex:
    """rank: 0 is the process that also writes, logs, draws and pushes.  local: among those of one machine.

    by: what started the processes; empty where the first one starts the others.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    by: str = ""


ALONE = ProcessIndex()
TORCHRUN, SLURM = "torchrun", "Slurm"
FIRST_PORT, PORTS = 15000, 10000  # jobs that share a machine meet at different ones


def find_process_index(config: Config) -> ProcessIndex:
    """Told by the environment where torchrun or srun started several processes, else the first of those to be started.

    Raises ConfigError where their number is not that of the configuration.
    """
    nodes, devices = config.trainer.nodes, config.trainer.devices
    wanted, told = nodes * devices, _told()
    if told and told.size != wanted:
        raise ConfigError(
            f"trainer.devices={devices} × trainer.nodes={nodes} must be the number of processes that {told.by} started "
            f"({told.size}), got {wanted}; each process computes on one device"
        )
    if not told and nodes > 1:
        raise ConfigError(
            f"trainer.nodes={nodes} needs the processes to be started on each machine: by srun, or by "
            f"torchrun --nnodes={nodes} --nproc-per-node={devices} train.py …"
        )
    return told or ProcessIndex(size=wanted, local_size=devices)


def is_one_of_many() -> bool:
    """Return whether torchrun or srun started this process beside others."""
    return _told() is not None


def _told() -> ProcessIndex | None:
    env = os.environ
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        rank, size, local = int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"])
        process_index = ProcessIndex(rank, size, local, int(env["LOCAL_WORLD_SIZE"]), TORCHRUN)
    elif "SLURM_STEP_NUM_TASKS" in env:  # of srun; a batch script has the numbers of the allocation alone
        size, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_STEP_NUM_NODES", 1))
        process_index = ProcessIndex(int(env["SLURM_PROCID"]), size, int(env["SLURM_LOCALID"]), size // nodes, SLURM)
    else:
        return None
    return process_index if process_index.size > 1 else None


def address() -> tuple[str, int]:
    """Return where the first of the processes that Slurm started can be met; MASTER_PORT says another port."""
    env = os.environ
    nodes = env.get("SLURM_STEP_NODELIST") or env["SLURM_NODELIST"]
    port = int(env.get("MASTER_PORT", FIRST_PORT + int(env["SLURM_JOB_ID"]) % PORTS))
    return SLURMEnvironment.resolve_root_node_address(nodes), port


class KnownEnvironment(ClusterEnvironment):
    """A place as Lightning wants it told. The processes have met before Lightning starts."""

    def __init__(self, process_index: ProcessIndex) -> None:
        self.process_index = process_index

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise NotImplementedError("the process group exists")

    @property
    def main_port(self) -> int:
        raise NotImplementedError("the process group exists")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.process_index.size

    def set_world_size(self, size: int) -> None:
        """Known."""

    def global_rank(self) -> int:
        return self.process_index.rank

    def set_global_rank(self, rank: int) -> None:
        """Known."""

    def local_rank(self) -> int:
        return self.process_index.local_rank

    def node_rank(self) -> int:
        return self.process_index.rank // self.process_index.local_size
