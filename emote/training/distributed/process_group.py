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
from emote.training.distributed.process_index import ALONE, SLURM, TORCHRUN, Place, address

ERRAND, READY = "errand", "ready"
LONGEST_ERRAND = timedelta(days=7)  # until the first process is ready: it may have to encode a large data set
LONGEST_SILENCE = timedelta(hours=1)  # between two steps: the first process validates, draws, pushes
LOOPBACK = "127.0.0.1"
A_LOOK_S, PARTING_S = 0.1, 20.0


class Team:
    """One process's view of it. Its place says whether it is the first one, and who started them."""

    def __init__(self, place: Place, store: dist.Store | None = None) -> None:
        self.place = place
        self.store = store
        self.called = False
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def of(cls, place: Place) -> Team:
        """Meet where torchrun or Slurm says; those who started nobody yet have nothing to meet for."""
        if place.by == TORCHRUN:
            store, _, _ = next(dist.rendezvous("env://", timeout=LONGEST_ERRAND))
            return cls(place, store)
        return cls(place, _store(*address(), place.rank == 0) if place.by == SLURM else None)

    # of the first process

    @contextmanager
    def training(self, config: Config, name: str, start: int) -> Iterator[Place]:
        """With the others for the length of the block, where there is anything to train; gives the place to train at.

        name, start: the run, and the step that it stands at. Raises RuntimeError where another one ends too early.
        """
        if self.place.size == 1 or start == config.trainer.max_steps:
            yield ALONE
            return
        if self.store is None:
            self.store, port = _store_here()
            self._start_others(port)
        self.call({"config": OmegaConf.to_yaml(OmegaConf.structured(config)), "name": name, "start": start})
        try:
            self._await_others()
            with self.gathered():
                yield self.place
        except BaseException as error:
            if isinstance(error, RuntimeError) and (lost := self._ended(within_s=PARTING_S)):
                raise RuntimeError(f"process {lost} of {self.place.size} ended; its message stands above") from error
            raise
        finally:
            self._part()

    def call(self, errand: dict[str, Any] | None) -> None:
        """None: there is nothing to do. Does nothing where no other process waits."""
        if self.store is not None and not self.called:
            self.store.set(ERRAND, json.dumps(errand))
            self.called = True

    def _start_others(self, port: int) -> None:
        threads = {"OMP_NUM_THREADS": str(_threads(self.place))}
        for rank in range(1, self.place.size):
            place = json.dumps([rank, self.place.size, rank, self.place.local_size])
            command = [sys.executable, "-m", "emote.training.distributed.worker", place, str(port)]
            self._children.append(subprocess.Popen(command, env={**os.environ, **threads}, stdin=subprocess.DEVNULL))

    def _await_others(self) -> None:
        assert self.store is not None
        missing = [f"{READY}{rank}" for rank in range(1, self.place.size)]
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
        if not self.place.by:
            self.store, self.called = None, False

    # of the others

    def errand(self) -> dict[str, Any] | None:
        """What `call` said; waits for it."""
        assert self.store is not None
        self.store.wait([ERRAND], LONGEST_ERRAND)
        return json.loads(self.store.get(ERRAND))

    def ready(self) -> None:
        assert self.store is not None
        self.store.set(f"{READY}{self.place.rank}", "")

    # of all

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """A process group, for as long as the block takes."""
        threads = torch.get_num_threads()
        os.environ.update(_interfaces(self.place))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, store=self.store, rank=self.place.rank, world_size=self.place.size, timeout=LONGEST_SILENCE
        )
        torch.set_num_threads(_threads(self.place))
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            dist.destroy_process_group()


def mean_over_team(number: torch.Tensor) -> torch.Tensor:
    """Of all processes that train together; all must ask at the same moment. number: []."""
    if not dist.is_initialized():
        return number
    number = number.cpu().clone()
    dist.all_reduce(number)
    return number / dist.get_world_size()


def greatest_in_team(number: int) -> int:
    """As `mean_over_team`."""
    if not dist.is_initialized():
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def _store(host: str, port: int, is_first: bool) -> dist.TCPStore:
    return dist.TCPStore(host, port, is_master=is_first, wait_for_workers=False, timeout=LONGEST_ERRAND)


def _store_here() -> tuple[dist.TCPStore, int]:
    """One that only this machine can reach, and its port."""
    listening = socket.create_server((LOOPBACK, 0))
    port = listening.getsockname()[1]
    store = dist.TCPStore(LOOPBACK, port, is_master=True, wait_for_workers=False, timeout=LONGEST_ERRAND,
                          master_listen_fd=listening.detach())  # fmt: skip
    return store, port


def other(place: Place, port: int) -> Team:
    """That of a process which the first one started."""
    return Team(place, _store(LOOPBACK, port, False))


def _threads(place: Place) -> int:
    """CPU threads of each process of a machine."""
    return max(1, torch.get_num_threads() // place.local_size)


def _interfaces(place: Place) -> dict[str, str]:
    """Processes of one machine speak over the loopback device, whatever the machine's name resolves to."""
    if place.size > place.local_size:
        return {}
    names = (name for name, found in psutil.net_if_addrs().items() if any(a.address == LOOPBACK for a in found))
    return {f"{library}_SOCKET_IFNAME": name for name in names for library in ("GLOO", "NCCL")}
