from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from emote.config import Config
from emote.data.prepared import scan
from emote.models.precision import Decision
from emote.models.single_file import PUBLISHED
from emote.runs.run_folder import RunFolder
from emote.training.preflight import check
from emote.training.preflight.check import Free, lines, preflight, print_comparison, readable_seconds, refusals
from emote.training.preflight.estimate import Estimate, estimate
from emote.util.errors import ConfigError

CPU = Decision(torch.device("cpu"), torch.float32, "")
GPU = Decision(torch.device("cuda"), torch.float16, "")
GB = 10**9
PLENTY = Free(host=100 * GB, device=None, cache_disk=100 * GB, run_disk=100 * GB, same_disk=True)


@pytest.fixture
def told(tiny_config: Callable[..., Config], tiny_sd: Path) -> Estimate:
    config = tiny_config()
    return estimate(config, tiny_sd, CPU, scan(config.data), start=0)


def refused(told: Estimate, free: Free, config: Config, decision: Decision = CPU) -> list[str]:
    return list(refusals(told, free, config, decision))


def test_a_run_that_fits_is_told_in_a_few_lines(told: Estimate, tiny_config: Callable[..., Config]) -> None:
    said = list(lines(told, PLENTY))
    assert len(said) == 5
    for words in ("parameters in 32 modules", "memory: about", "disk: cache", "for 6 steps", "a step; the heaviest"):
        assert any(words in line for line in said), words
    assert refused(told, PLENTY, tiny_config()) == []


def test_the_cache_is_as_large_as_was_said(tiny_config: Callable[..., Config], tiny_run: Any, tmp_path: Path) -> None:
    config = tiny_config(**{"run.cache_dir": tmp_path / "cache"})
    told = estimate(config, Path(config.model.path), CPU, scan(config.data), start=0)
    tiny_run(**{"run.cache_dir": tmp_path / "cache"})
    written = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.safetensors"))
    assert 0.8 * written < told.cache_bytes <= written  # files have headers
    run = sum(file.stat().st_size for file in (tmp_path / "runs").rglob("*") if file.is_file())
    assert 0.2 * run < told.run_bytes < 5 * run


@pytest.mark.parametrize("change", [{"data.flip": "true"}, {"data.background": "random"}])
def test_variants_make_the_cache_larger(
    tiny_config: Callable[..., Config], tiny_sd: Path, told: Estimate, change: dict[str, Any]
) -> None:
    config = tiny_config(**change)
    assert estimate(config, tiny_sd, CPU, scan(config.data), start=0).cache_bytes > told.cache_bytes


def test_a_full_disk_is_refused_with_what_to_do(told: Estimate, tiny_config: Callable[..., Config]) -> None:
    config, told = tiny_config(), replace(told, missing_bytes=told.cache_bytes)
    (line,) = refused(told, replace(PLENTY, cache_disk=1000), config)
    assert "of disk, and 1 kB are free" in line and "run.cache_dir=" in line and "run.dir=" in line
    (line,) = refused(told, replace(PLENTY, run_disk=1000, same_disk=False), config)
    assert line.startswith("run.dir needs about")
    (line,) = refused(told, replace(PLENTY, cache_disk=1000, same_disk=False), config)
    assert line.startswith("run.cache_dir needs about")


def test_what_is_cached_already_needs_no_room(
    told: Estimate, tiny_config: Callable[..., Config], tiny_sd: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "shard.safetensors").write_bytes(bytes(told.cache_bytes))
    config = tiny_config(**{"run.cache_dir": tmp_path / "cache"})
    warm = estimate(config, tiny_sd, CPU, scan(config.data), start=0)
    assert (warm.cache_bytes, warm.missing_bytes, warm.seconds["cache"]) == (told.cache_bytes, 0, 0)
    assert refused(warm, replace(PLENTY, cache_disk=told.run_bytes + 1), config) == []


def test_too_little_memory_is_refused_with_the_micro_batch_that_fits(
    told: Estimate, tiny_config: Callable[..., Config]
) -> None:
    config = tiny_config(**{"trainer.batch_size": 8})
    resident = psutil.Process().memory_info().rss  # what the tests hold already counts as a part of it
    large = replace(told, host_bytes=20 * GB + resident, micro_batch_bytes=8 * GB)
    (line,) = refused(large, replace(PLENTY, host=15 * GB), config)
    assert "of memory, and 15.0 GB are free; set trainer.max_micro_batch=2 " in line
    (line,) = refused(large, replace(PLENTY, host=2 * GB), config)
    assert "trainer.gradient_checkpointing=true" in line
    (line,) = refused(replace(large, micro_batch_bytes=0), replace(PLENTY, host=2 * GB), config)
    assert "a machine with more" in line


def test_a_gpu_is_too_small_only_where_not_even_one_image_fits(
    told: Estimate, tiny_config: Callable[..., Config]
) -> None:
    config = tiny_config(**{"trainer.batch_size": 8})
    large = replace(told, device_bytes=20 * GB, micro_batch_bytes=16 * GB)
    assert refused(large, replace(PLENTY, device=7 * GB), config, GPU) == []  # the probe will find a micro-batch
    (line,) = refused(large, replace(PLENTY, device=5 * GB), config, GPU)
    assert "6.0 GB of the GPU's memory, and 5.0 GB are free" in line


def test_what_takes_longer_than_allowed_is_refused_by_saying_how_long(
    told: Estimate, tiny_config: Callable[..., Config]
) -> None:
    long = replace(told, steps=4500, seconds={"cache": 0.0, "train": 72000.0, "sample": 0.0, "total": 72000.0})
    (line,) = refused(long, PLENTY, tiny_config(**{"trainer.max_steps": 4500}))
    assert "4,500 steps would take about 20 hours on this CPU" in line
    assert "run.max_hours=6, the default here, allows 6.0 hours" in line
    assert "set run.max_hours=21, trainer.max_steps=1350, a GPU, or" in line
    (line,) = refused(long, PLENTY, tiny_config(), GPU)
    assert "run.max_hours=12, the default here," in line and "a GPU," not in line
    assert refused(long, PLENTY, tiny_config(**{"run.max_hours": 20})) == []
    assert len(refused(long, PLENTY, tiny_config(**{"run.max_hours": 19.5}))) == 1


def test_everything_that_is_wrong_is_said_at_once(told: Estimate, tiny_config: Callable[..., Config]) -> None:
    long = replace(told, seconds={**told.seconds, "total": 1e6})
    assert len(refused(long, replace(PLENTY, host=1000, cache_disk=1000), tiny_config())) == 3


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10, used=10, free=0))
    yield


def test_a_run_on_a_full_disk_ends_before_anything_is_computed(full_disk: None, tiny_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"of disk, and 0 B are free; make room"):
        tiny_run(**{"run.cache_dir": tmp_path / "cache"})
    assert not (tmp_path / "cache" / "latents").exists()


def test_stable_diffusion_on_a_cpu_is_refused_until_more_hours_are_allowed(
    tiny_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emote.training.preflight.speed.TIMING_BUDGET_SECONDS", 0.1)
    monkeypatch.setattr(check.Free, "here", classmethod(lambda cls, config, device: PLENTY))
    values = {"trainer.max_steps": 4500, "trainer.batch_size": 8, "data.resolution": 256}
    arguments = (PUBLISHED / "sd15", CPU, scan(tiny_config().data), RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"4,500 steps would take about [\d,.]+ hours on this CPU"):
        preflight(tiny_config(**values), *arguments)
    told = preflight(tiny_config(**values, **{"run.max_hours": 1e9}), *arguments)
    assert told.host_bytes / 2**30 > 3.2 + 2  # the weights in float32, and eight images' activations


def test_only_what_is_left_counts(tiny_config: Callable[..., Config], tiny_sd: Path, told: Estimate) -> None:
    config = tiny_config()
    rest = estimate(config, tiny_sd, CPU, scan(config.data), start=4)
    assert (told.steps, rest.steps) == (6, 2)
    assert rest.seconds["train"] < told.seconds["train"]


def test_the_summary_has_the_estimate_beside_what_was_measured(tiny_run: Any) -> None:
    import json

    summary = json.loads((tiny_run() / "summary.json").read_text())
    expected = summary["estimate"]
    assert set(expected["seconds"]) == set(summary["seconds"])
    assert set(expected["peak_memory_bytes"]) == set(summary["peak_memory_bytes"])
    assert expected["seconds_per_step"] > 0 and expected["flops_per_step"] > 0 and expected["basis"]
    assert 0.5 < expected["peak_memory_bytes"]["host"] / summary["peak_memory_bytes"]["host"] < 2


def test_an_estimate_that_was_far_off_is_admitted(told: Estimate, capsys: pytest.CaptureFixture[str]) -> None:
    near = told.seconds_per_step * 1.5
    print_comparison(told, near, {"host": told.host_bytes, "device": None})
    assert capsys.readouterr().out == ""
    print_comparison(told, near * 10, {"host": told.host_bytes * 3, "device": None})
    assert capsys.readouterr().out.count("was estimated at") == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.333, "0.33 s"), (45, "45 s"), (600, "10 min"), (5400, "1.5 hours"), (72000, "20 hours"), (7e6, "1,944 hours")],
)
def test_seconds_are_readable(seconds: float, words: str) -> None:
    assert readable_seconds(seconds) == words


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CGROUP", tmp_path)
    assert check._cgroup_left() == 2**62
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    assert check._cgroup_left() == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert check._cgroup_left() == 2**62
