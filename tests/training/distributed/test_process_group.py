"""One run on several devices: processes on the CPU, which speak over gloo."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file

from emote.config import Config
from emote.lora.adapter import trainable
from emote.training.distributed.process_index import ALONE, ProcessIndex, find_process_index
from emote.util.errors import ConfigError
from emote.util.interrupt import Interrupted
from tests.conftest import ROOT
from tests.training.test_run import adapters, losses_of, steps_of, summary

Runner = Callable[..., Path]
ADAPTER = "pytorch_lora_weights.safetensors"


class KeepGradients(pl.Callback):
    """Of the first step, as the optimizer will see them; each process in a file of its own."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == 0:
            gradients = {name: p.grad.clone() for name, p in trainable(pl_module.unet).items() if p.grad is not None}
            save_file(gradients, self.directory / f"{trainer.world_size}-{trainer.global_rank}.safetensors")


class Stop(pl.Callback):
    """A signal to one process at the end of a step."""

    def __init__(self, rank: int, step: int, number: int) -> None:
        self.rank, self.step, self.number = rank, step, number

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            os.kill(os.getpid(), self.number)


def extra(kind: type, **values: Any) -> dict[str, Any]:
    values = {"_target_": f"{__name__}.{kind.__name__}", "only_watches": True, **values}
    return {f"+callbacks.extra.only.{name}": value for name, value in values.items()}


def distance(of: dict[str, torch.Tensor], to: dict[str, torch.Tensor]) -> float:
    """Of all tensors together, relative."""
    squares = [((of[name] - to[name]).double().square().sum(), to[name].double().square().sum()) for name in to]
    return float((sum(a for a, _ in squares) / sum(b for _, b in squares)) ** 0.5)


def updates(adapter: Path) -> dict[str, torch.Tensor]:
    """B·A of each module: what the adapter adds to its weight."""
    tensors = load_file(adapter)
    downs = {name for name in tensors if ".lora_A." in name}
    return {
        name: tensors[name.replace(".lora_A.", ".lora_B.")] @ tensors[name] for name in downs if tensors[name].ndim == 2
    }


@pytest.fixture
def both(tiny_run: Runner, tmp_path: Path) -> tuple[Path, Path]:
    """20 steps of 8 images: by one process, and by two with 4 each."""
    asked = {
        "trainer.max_steps": 20,
        "trainer.batch_size": 8,
        **extra(KeepGradients, directory=tmp_path),
    }
    one = tiny_run(**asked, **{"run.dir": tmp_path / "one"})
    return one, tiny_run(**asked, **{"run.dir": tmp_path / "two", "trainer.devices": 2})


def test_two_processes_learn_what_one_learns(both: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = both
    first, gathered, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert len(first) > 0 and distance(gathered, first) < 1e-5
    assert all(torch.equal(gathered[name], other[name]) for name in gathered)
    losses = [[float(loss) for loss in losses_of(path)] for path in both]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)
    assert distance(updates(two / ADAPTER), updates(one / ADAPTER)) < 1e-2
    # each step is written once, and by its name it is the same run: what it is computed on is no part of that
    assert steps_of(two) == steps_of(one) == list(range(1, 21))
    assert two.parent.parent.name == one.parent.parent.name
    assert not summary(two)["mixed"] and summary(two)["micro_batch"] == 4


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_nothing_is_lost(tiny_run: Runner, tmp_path: Path) -> None:
    together = {"trainer.devices": 2, "run.dir": tmp_path / "runs"}
    with pytest.raises(Interrupted):
        tiny_run(**together, **extra(Stop, rank=1, step=3, number=int(signal.SIGTERM)))
    (folder,) = (tmp_path / "runs").glob("smoke-*")
    assert (folder / "checkpoints" / "000003.ckpt").exists()
    resumed = tiny_run(**together)
    assert summary(resumed)["resumed_from_step"] == 3
    straight = tiny_run(**{**together, "run.dir": tmp_path / "straight"})
    assert adapters(resumed) == adapters(straight) and losses_of(resumed) == losses_of(straight)
    with pytest.raises(ConfigError, match=r"other arithmetic \(micro_batch 2 → 4; processes 2 → 1\)"):
        tiny_run(**{"run.dir": tmp_path / "runs", "trainer.max_steps": 8})


@pytest.mark.slow
def test_a_process_that_is_lost_is_named(tiny_run: Runner, tmp_path: Path) -> None:
    asked = {"trainer.devices": 2, **extra(Stop, rank=1, step=3, number=int(signal.SIGKILL))}
    with pytest.raises(RuntimeError, match="process 1 of 2 ended"):
        tiny_run(**asked)
    path = tiny_run(**{"trainer.devices": 2})  # in the same process, from the last checkpoint
    assert summary(path)["resumed_from_step"] == 2


def test_one_that_cannot_start_is_named(
    tiny_run: Runner, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="process 1 of 2 ended"):
        tiny_run(**{"trainer.devices": 2})


TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(("environment", "by"), [(TORCHRUN, "torchrun"), (SRUN, "Slurm")])
def test_others_may_have_started_the_processes(
    environment: dict[str, str], by: str, tiny_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_process_index(tiny_config(**{"trainer.devices": 2, "trainer.nodes": 2})) == ProcessIndex(3, 4, 1, 2, by)
    with pytest.raises(ConfigError) as told:
        find_process_index(tiny_config())
    assert str(told.value) == (
        f"trainer.devices=1 × trainer.nodes=1 must be the number of processes that {by} started (4), got 1; "
        "each process computes on one device"
    )


def test_a_batch_job_of_many_tasks_is_one_process_until_srun(
    tiny_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert find_process_index(tiny_config()) == ALONE


def test_several_machines_need_somebody_to_start_the_processes(tiny_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"torchrun --nnodes=2 --nproc-per-node=2 train\.py"):
        find_process_index(tiny_config(**{"trainer.devices": 2, "trainer.nodes": 2}))


def words(config: Config, *more: str) -> list[str]:
    return [
        "experiment=smoke", f"model.path={config.model.path}", "model.resolution=32", "data.max_items=24",
        "trainer.accelerator=cpu", "trainer.max_steps=4", "callbacks.samples.prompts=[]",
        "callbacks.validation.every_steps=4", f"run.dir={config.run.dir}",
        f"run.cache_dir={config.run.cache_dir}", *more,
    ]  # fmt: skip


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "train.py",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=240)


@pytest.mark.slow
def test_torchrun_may_start_the_processes(tiny_config: Callable[..., Config], tiny_run: Runner) -> None:
    asked = words(tiny_config(), "trainer.devices=2")
    done = torchrun(*asked)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path.name == "000004" and steps_of(path) == [1, 2, 3, 4]
    assert done.stdout.count("trained to step 4") == 1  # one of them speaks
    again = torchrun(*asked)
    assert again.returncode == 0 and "finished already" in again.stdout


@pytest.fixture
def two_hosts() -> Iterator[list[list[str]]]:
    """Two network namespaces with a wire between them: for each, the words that run a command there."""
    names, wire = ("emote-1", "emote-2"), "wire"
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", names[0]], capture_output=True).returncode:
        pytest.skip("network namespaces need ip (iproute2) and root")
    try:
        subprocess.run(["ip", "netns", "add", names[1]], check=True)
        link = ["type", "veth", "peer", "name", wire, "netns", names[1]]
        subprocess.run(["ip", "link", "add", wire, "netns", names[0], *link], check=True)
        for number, name in enumerate(names, start=1):
            subprocess.run(["ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", wire], check=True)
            for device in ("lo", wire):
                subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)
        yield [["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={wire}"] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
def test_two_machines_may_share_a_run(
    two_hosts: list[list[str]], tiny_config: Callable[..., Config], tiny_run: Runner
) -> None:
    asked = words(tiny_config(), "trainer.nodes=2")
    meet = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=10.77.0.1", "--master-port=29500"]
    started = [
        subprocess.Popen(
            [*host, sys.executable, "-m", "torch.distributed.run", *meet, f"--node-rank={rank}", "train.py", *asked],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank, host in enumerate(two_hosts)
    ]  # fmt: skip
    said = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    path = Path(said[0].splitlines()[-1])
    assert steps_of(path) == [1, 2, 3, 4] and summary(path)["processes"] == 2
    assert "trained to step" not in said[1]


@pytest.mark.slow
def test_where_the_first_process_is_refused_the_others_go_too(tiny_config: Callable[..., Config]) -> None:
    asked = words(tiny_config(), "trainer.devices=2", "run.max_hours=1e-9")
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "1", "SLURM_NODELIST": "127.0.0.1"}
    started = [
        subprocess.Popen(
            [sys.executable, "train.py", *asked], cwd=ROOT, text=True, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, env={**os.environ, **step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    told = [process.communicate(timeout=120)[1] for process in started]
    assert "run.max_hours" in told[0], told
    assert [process.returncode for process in started] == [2, 0], told


@pytest.mark.slow
def test_jobs_of_a_sweep_may_each_train_on_two_devices(tiny_config: Callable[..., Config]) -> None:
    command = [sys.executable, "train.py", "-m", *words(tiny_config(), "trainer.devices=2", "lora.rank=1,2")]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "computed 8 optimizer steps" in done.stdout


@pytest.mark.slow
def test_when_the_first_process_is_killed_the_others_go(tiny_config: Callable[..., Config]) -> None:
    asked = words(tiny_config(), "trainer.devices=2", "trainer.max_steps=5000", "run.max_hours=1000")
    first = subprocess.Popen(
        [sys.executable, "train.py", *asked], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    metrics = Path(tiny_config().run.dir)
    while not list(metrics.glob("smoke-*/metrics.csv")):
        assert first.poll() is None
        time.sleep(0.1)
    (other,) = psutil.Process(first.pid).children()
    first.kill()
    first.wait()
    other.wait(60)  # raises where it goes on
