"""The largest micro-batch that fits a GPU's memory, found by trying; the batch of a step stays what it is."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.data import default_collate

from emote.config import Config, micro_batch, share_of_device
from emote.data.prepared import TrainingSet
from emote.lora.adapter import trainable
from emote.training.job import Job
from emote.util.console import echo
from emote.util.errors import ConfigError


def fit_micro_batch(job: Job) -> Config:
    """Return the configuration with a ceiling under which a step runs on the job's device: its own, where that does.

    One forward and backward pass is made with each size that is tried. Nothing of it is left: randomness has no state.
    Raises ConfigError where not even one image fits.
    """
    config, wanted = job.config, micro_batch(job.config.trainer)
    share = share_of_device(config.trainer)
    sizes = [size for size in range(wanted, 0, -1) if share % size == 0]
    found = largest_that_fits(sizes, lambda size: _pass(job, size))
    if found is None:
        raise ConfigError(
            "not even one image at a time fits the GPU's memory; use a smaller data.resolution or "
            "trainer.gradient_checkpointing=true, or end what else uses the GPU"
        )
    if found == wanted:
        return config
    echo(
        f"micro-batch {found} instead of {wanted}, which does not fit the GPU's memory; a step still learns from "
        f"{config.trainer.batch_size} images, in {share // found} passes"
    )
    return replace(config, trainer=replace(config.trainer, max_micro_batch=found))


def largest_that_fits(sizes: list[int], attempt: Callable[[int], None]) -> int | None:
    """The first of the sizes, from large to small, at which `attempt` does not run out of the device's memory."""
    for size in sizes:
        try:
            attempt(size)
            return size
        except torch.OutOfMemoryError:
            pass
        # outside of the handler, whose traceback keeps what had been computed alive
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return None


def _pass(job: Job, size: int) -> None:
    module, batch = job.module, job.config.trainer.batch_size
    rows = TrainingSet(job.prepared, job.config.seed, batch, 0, batch)
    parameters = list(trainable(module.unet).values())
    # what AdamW will keep beside the weights
    averages = [torch.empty_like(parameter) for parameter in parameters for _ in range(2)]
    try:
        loaded = default_collate([rows[i] for i in range(size)])
        loss = module.training_step({name: tensor.to(module.device) for name, tensor in loaded.items()}, 0)
        loss.backward()
    finally:
        module.forget_losses()
        for parameter in parameters:
            parameter.grad = None
        del averages
