"""The processes that train one run together: how they start, learn what to do, meet, and part.

The first process does all that is not training and calls the others when it is ready to train. They learn the run from
a store that it keeps (JSON; nothing that arrives there is unpickled).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from emote.config import Config
from emote.training.distributed.process_index import ALONE, SLURM, TORCHRUN, ProcessIndex, address

TASK, READY = "errand", "ready"
LONGEST_TASK = timedelta(days=7)  # until the first process is ready: it may have to encode a large data set
LONGEST_SILENCE = timedelta(hours=1)  # between two steps: the first process validates, draws, pushes
LOOPBACK = "127.0.0.1"
A_LOOK_S, PARTING_S = 0.1, 20.0


class ProcessGroup:
    """One process's view of it. Its place says whether it is the first one, and who started them."""

    def __init__(self, process_index: ProcessIndex, store: dist.Store | None = None) -> None:
        self.process_index = process_index
        self.store = store
        self.called = False
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def of(cls, process_index: ProcessIndex) -> ProcessGroup:
        """Meet where torchrun or Slurm says; those who started nobody yet have nothing to meet for."""
        if process_index.by == TORCHRUN:
            store, _, _ = next(dist.rendezvous("env://", timeout=LONGEST_TASK))
            return cls(process_index, store)
        return cls(process_index, _store(*address(), process_index.rank == 0) if process_index.by == SLURM else None)

    # of the first process

    @contextmanager
    def training(self, config: Config, name: str, start: int) -> Iterator[ProcessIndex]:
        """With the others for the length of the block, where there is anything to train; gives the place to train at.

        name, start: the run, and the step that it stands at. Raises RuntimeError where another one ends too early.
        """
        if self.process_index.size == 1 or start == config.trainer.max_steps:
            yield ALONE
            return
        if self.store is None:
            self.store, port = _store_here()
            self._start_others(port)
        self.call({"config": OmegaConf.to_yaml(OmegaConf.structured(config)), "name": name, "start": start})
        try:
            self._await_others()
            with self.gathered():
                yield self.process_index
        except BaseException as error:
            if isinstance(error, RuntimeError) and (lost := self._ended(within_s=PARTING_S)):
                raise RuntimeError(
                    f"process {lost} of {self.process_index.size} ended; its message stands above"
                ) from error
            raise
        finally:
            self._part()

    def call(self, task: dict[str, Any] | None) -> None:
        """None: there is nothing to do. Does nothing where no other process waits."""
        if self.store is not None and not self.called:
            self.store.set(TASK, json.dumps(task))
            self.called = True

    def _start_others(self, port: int) -> None:
        threads = {"OMP_NUM_THREADS": str(_threads(self.process_index))}
        for rank in range(1, self.process_index.size):
            process_index = json.dumps([rank, self.process_index.size, rank, self.process_index.local_size])
            command = [sys.executable, "-m", "emote.training.distributed.worker", process_index, str(port)]
            self._children.append(subprocess.Popen(command, env={**os.environ, **threads}, stdin=subprocess.DEVNULL))

    def _await_others(self) -> None:
        assert self.store is not None
        missing = [f"{READY}{rank}" for rank in range(1, self.process_index.size)]
        while not self.store.check(missing):
            if self._ended():
                raise RuntimeError("not all processes came")
            time.sleep(A_LOOK_S)

    def _ended(self, within_s: float = 0) -> int:
        """Rank of a process of ours that ended with an error; 0 where none did."""
        until = time.monotonic() + within_s
        while True:
            for rank, child in enumerate(self._children, start=1):
                if child.poll():
                    return rank
            if time.monotonic() >= until or all(child.poll() is not None for child in self._children):
                return 0
            time.sleep(A_LOOK_S)

    def _part(self) -> None:
        for child in self._children:
            try:
                child.wait(PARTING_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()
        if not self.process_index.by:
            self.store, self.called = None, False

    # of the others

    def task(self) -> dict[str, Any] | None:
        """Wait for what `call` gave, and return it."""
        assert self.store is not None
        try:
            self.store.wait([TASK], LONGEST_TASK)
            return json.loads(self.store.get(TASK))
        except dist.DistNetworkError:  # the first process has gone, and has said why
            return None

    def ready(self) -> None:
        assert self.store is not None
        self.store.set(f"{READY}{self.process_index.rank}", "")

    # of all

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """A process group, for as long as the block takes."""
        threads = torch.get_num_threads()
        os.environ.update(_interfaces(self.process_index))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend,
            store=self.store,
            rank=self.process_index.rank,
            world_size=self.process_index.size,
            timeout=LONGEST_SILENCE,
        )
        torch.set_num_threads(_threads(self.process_index))
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            dist.destroy_process_group()


def mean_over_processes(number: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes that train together; all must ask at once. number: []."""
    if not dist.is_initialized():
        return number
    number = number.cpu().clone()
    dist.all_reduce(number)
    return number / dist.get_world_size()


def max_over_processes(number: int) -> int:
    """Return the maximum, as `mean_over_processes` the mean."""
    if not dist.is_initialized():
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def _store(host: str, port: int, is_first: bool) -> dist.TCPStore:
    return dist.TCPStore(host, port, is_master=is_first, wait_for_workers=False, timeout=LONGEST_TASK)


def _store_here() -> tuple[dist.TCPStore, int]:
    """One that only this machine can reach, and its port."""
    listening = socket.create_server((LOOPBACK, 0))
    port = listening.getsockname()[1]
    store = dist.TCPStore(LOOPBACK, port, is_master=True, wait_for_workers=False, timeout=LONGEST_TASK,
                          master_listen_fd=listening.detach())  # fmt: skip
    return store, port


def other(process_index: ProcessIndex, port: int) -> ProcessGroup:
    """That of a process which the first one started."""
    return ProcessGroup(process_index, _store(LOOPBACK, port, False))


def _threads(process_index: ProcessIndex) -> int:
    """CPU threads of each process of a machine."""
    return max(1, torch.get_num_threads() // process_index.local_size)


def _interfaces(process_index: ProcessIndex) -> dict[str, str]:
    """Processes of one machine speak over the loopback device, whatever the machine's name resolves to."""
    if process_index.size > process_index.local_size:
        return {}
    names = (name for name, found in psutil.net_if_addrs().items() if any(a.address == LOOPBACK for a in found))
    return {f"{library}_SOCKET_IFNAME": name for name in names for library in ("GLOO", "NCCL")}
