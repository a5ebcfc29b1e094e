from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emote.config import Config, micro_batch
from emote.data.prepared import scan
from emote.diffusion.objective import Drawn
from emote.lora.adapter import adapter_state, trainable
from emote.models import components
from emote.models.precision import Decision
from emote.runs.run_folder import RunFolder
from emote.training.job import Job, build_job, encode_data
from emote.training.micro_batch import fit_micro_batch, largest_that_fits
from emote.util.errors import ConfigError


def out_of_memory_above(limit: int, tried: list[int]) -> Callable[[int], None]:
    def attempt(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


@pytest.mark.parametrize(("limit", "found"), [(8, 8), (5, 4), (1, 1), (0, None)])
def test_the_first_size_that_fits_is_taken(limit: int, found: int | None) -> None:
    tried: list[int] = []
    assert largest_that_fits([8, 4, 2, 1], out_of_memory_above(limit, tried)) == found
    assert tried == [size for size in (8, 4, 2, 1) if size >= (found or 1)]


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        largest_that_fits([8, 4], attempt)


@pytest.fixture
def job(tiny_config: Callable[..., Config], tiny_sd: Path, tmp_path: Path) -> Job:
    config = tiny_config(**{"trainer.batch_size": 6})
    decision = Decision(torch.device("cpu"), torch.float32, "")
    weights = {part: components.fingerprint(tiny_sd, part) for part in ("unet", "vae", "text_encoder")}
    prepared = encode_data(config, tiny_sd, weights, scan(config.data), decision)
    return build_job(config, "test-0", RunFolder(tmp_path), tiny_sd, weights, decision, prepared)


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch, job: Job) -> Callable[[int], list[int]]:
    """A device whose memory a pass with more than so many images exceeds, somewhere within it."""

    def make(limit: int) -> list[int]:
        tried: list[int] = []
        original = job.module._training_error

        def error(drawn: Drawn) -> torch.Tensor:
            out_of_memory_above(limit, tried)(len(drawn.latents_BCHW))
            return original(drawn)

        monkeypatch.setattr(job.module, "_training_error", error)
        return tried

    return make


def test_the_micro_batch_shrinks_to_a_divisor_that_fits_and_the_batch_stays(
    job: Job, small_gpu: Callable[[int], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    tried = small_gpu(5)
    fitted = fit_micro_batch(job)
    assert tried == [6, 3]
    assert (micro_batch(fitted.trainer), fitted.trainer.batch_size) == (3, 6)
    said = capsys.readouterr().out
    assert "micro-batch 3 instead of 6" in said and "from 6 images, in 2 passes" in said


def test_where_it_fits_nothing_changes_and_nothing_is_said(
    job: Job, small_gpu: Callable[[int], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = adapter_state(job.module.unet)
    small_gpu(6)
    assert fit_micro_batch(job) is job.config
    assert capsys.readouterr().out == ""
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter_state(job.module.unet).items())
    assert all(parameter.grad is None for parameter in trainable(job.module.unet).values())
    assert job.module._losses == [] and job.module.training


def test_not_even_one_image_is_a_plain_message(job: Job, small_gpu: Callable[[int], list[int]]) -> None:
    assert small_gpu(0) == []
    with pytest.raises(ConfigError, match="not even one image"):
        fit_micro_batch(job)


def test_after_a_failed_attempt_nothing_of_it_is_left(job: Job, small_gpu: Callable[[int], list[int]]) -> None:
    small_gpu(1)
    fit_micro_batch(job)
    assert job.module._losses == []
    assert all(parameter.grad is None for parameter in trainable(job.module.unet).values())
