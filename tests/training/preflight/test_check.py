from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from emote.config import Config
from emote.data.prepared import scan
from emote.models.precision import Decision
from emote.models.single_file import PUBLISHED
from emote.runs.run_folder import RunFolder
from emote.training.preflight import check
from emote.training.preflight.check import Free, lines, preflight, refusals
from emote.training.preflight.estimate import Estimate
from emote.util.errors import ConfigError
from tests.training.preflight.test_estimate import estimated

CPU = Decision(torch.device("cpu"), torch.float32, "")
GPU = Decision(torch.device("cuda"), torch.float16, "")
GB = 10**9
BOTH = "run.cache_dir and run.dir"
PLENTY = Free(host=100 * GB, device=None, disks={BOTH: 100 * GB})


@pytest.fixture
def expected(tiny_config: Callable[..., Config], tmp_path: Path) -> Estimate:
    return estimated(tiny_config(**{"run.cache_dir": tmp_path / "cache"}))


def refused(expected: Estimate, free: Free, config: Config, decision: Decision = CPU) -> list[str]:
    return list(refusals(expected, free, config, decision.device))


def test_a_run_that_fits_is_told_in_a_few_lines(expected: Estimate, tiny_config: Callable[..., Config]) -> None:
    said = list(lines(expected, PLENTY))
    assert len(said) == 5
    for words in (
        "parameters in 32 modules",
        "memory: about",
        "disk: cache",
        "for 6 steps",
        "a step",
        "at half the speed of a matrix product",
    ):
        assert any(words in line for line in said), words
    assert refused(expected, PLENTY, tiny_config()) == []


def test_a_full_disk_is_refused_with_what_to_do(expected: Estimate, tiny_config: Callable[..., Config]) -> None:
    config = tiny_config()
    (line,) = refused(expected, replace(PLENTY, disks={BOTH: 1000}), config)
    assert line.startswith("run.cache_dir and run.dir: about ") and "of disk needed, and 1 kB are free" in line
    assert line.endswith("make room, or set run.cache_dir and run.dir to a larger disk")
    for key, size in (("run.cache_dir", expected.missing_bytes), ("run.dir", expected.disk_bytes["run"])):
        enough = {"run.cache_dir": 100 * GB, "run.dir": 100 * GB}
        (line,) = refused(expected, replace(PLENTY, disks=enough | {key: size - 1}), config)
        assert line.startswith(f"{key}: about ")
        assert refused(expected, replace(PLENTY, disks=enough | {key: size}), config) == []


def test_too_little_memory_is_refused_with_what_needs_less(
    expected: Estimate, tiny_config: Callable[..., Config]
) -> None:
    large = replace(expected, peak_memory_bytes={"host": 100 * GB, "device": None}, in_training=True)
    little = replace(PLENTY, host=15 * GB)
    words = "; close other programs, or set trainer.max_micro_batch=1 (the batch stays) or trainer.gradient_checkpoi"
    (line,) = refused(large, little, tiny_config(**{"trainer.batch_size": 8}))
    assert "GB of memory needed, and 15.0 GB are free" + words in line
    one = {"trainer.max_micro_batch": 1}
    (line,) = refused(large, little, tiny_config(**one))
    assert line.endswith("or set trainer.gradient_checkpointing=true or a smaller data.resolution")
    for hopeless in (replace(large, in_training=False), large):
        (line,) = refused(hopeless, little, tiny_config(**one, **{"trainer.gradient_checkpointing": True}))
        assert line.endswith("are free; close other programs, or set a smaller data.resolution")


def test_a_gpu_is_too_small_only_where_not_even_one_image_fits(
    expected: Estimate, tiny_config: Callable[..., Config]
) -> None:
    config = tiny_config(**{"trainer.batch_size": 8})
    most, step = 10**8, expected.work.step.peak_bytes
    large = replace(expected, peak_memory_bytes={"host": 0, "device": most}, in_training=True)
    alone = int(most - step * 7 / 8)  # the probe will find the micro-batch of one
    assert refused(large, replace(PLENTY, device=alone), config, GPU) == []
    (line,) = refused(large, replace(PLENTY, device=alone - 10), config, GPU)
    assert "of the GPU's memory needed, and" in line and "trainer.gradient_checkpointing=true" in line
    host = replace(large, peak_memory_bytes={"host": 200 * GB, "device": 1})
    (line,) = refused(host, replace(PLENTY, device=GB), config, GPU)
    assert "of memory needed, and 100.0 GB are free; close other programs" in line


def test_what_takes_longer_than_allowed_is_refused_by_saying_how_long(
    expected: Estimate, tiny_config: Callable[..., Config]
) -> None:
    long = replace(expected, steps=4500, seconds={"cache": 0.0, "train": 72000.0, "sample": 0.0, "total": 72000.0})
    (line,) = refused(long, PLENTY, tiny_config(**{"trainer.max_steps": 4500}))
    assert "4,500 steps would take about 20 hours on this CPU" in line
    assert "run.max_hours=6 allows 6.0 hours" in line
    assert "set run.max_hours=21 or fewer trainer.max_steps, use a GPU, or try experiment=quickstart" in line
    (line,) = refused(long, PLENTY, tiny_config(), GPU)
    assert "run.max_hours=12 allows" in line and "use a GPU" not in line
    assert refused(long, PLENTY, tiny_config(**{"run.max_hours": 20})) == []
    assert len(refused(long, PLENTY, tiny_config(**{"run.max_hours": 19.5}))) == 1


def test_everything_that_is_wrong_is_said_at_once(expected: Estimate, tiny_config: Callable[..., Config]) -> None:
    long = replace(expected, seconds={**expected.seconds, "total": 1e6})
    assert len(refused(long, replace(PLENTY, host=-(10**12), disks={BOTH: 1000}), tiny_config())) == 3


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10, used=10, free=0))
    yield


def test_a_run_on_a_full_disk_ends_before_anything_is_computed(full_disk: None, tiny_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"of disk needed, and 0 B are free; make room"):
        tiny_run(**{"run.cache_dir": tmp_path / "cache"})
    assert not (tmp_path / "cache" / "latents").exists()


def test_stable_diffusion_on_a_cpu_is_refused_until_more_hours_are_allowed(
    tiny_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.Free, "here", classmethod(lambda cls, config, device: PLENTY))
    values = {"trainer.max_steps": 4500, "trainer.batch_size": 8, "data.resolution": 256}
    arguments = (
        PUBLISHED / "sd15",
        {"vae": "v", "text_encoder": "t"},
        CPU,
        scan(tiny_config().data),
        RunFolder(tmp_path / "run"),
    )
    with pytest.raises(ConfigError, match=r"4,500 steps would take about [\d,.]+ (hours|days) on this CPU"):
        preflight(tiny_config(**values), *arguments)
    expected = preflight(tiny_config(**values, **{"run.max_hours": 1e9}), *arguments)
    assert (
        expected.peak_memory_bytes["host"] or 0
    ) / 2**30 > 3.2 + 2  # the weights in float32, and eight images' activations


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CGROUP", tmp_path)
    assert check._cgroup_left() == 2**62
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    assert check._cgroup_left() == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert check._cgroup_left() == 2**62
