"""Train from the nearest checkpoint to the step that was asked for."""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from emote.config import Config, micro_batch
from emote.data.prepared import TrainingSet
from emote.training.callbacks.checkpoint import Checkpoint
from emote.training.callbacks.follow import Follow
from emote.training.callbacks.metrics import Metrics
from emote.training.callbacks.pace import Pace
from emote.training.callbacks.plateau import Plateau, stop_at_plateau
from emote.training.callbacks.progress import ProgressLine
from emote.training.callbacks.samples import Samples
from emote.training.callbacks.step import is_due
from emote.training.callbacks.validation import Validation
from emote.training.distributed.process_index import ALONE, KnownEnvironment, ProcessIndex
from emote.training.job import Job
from emote.training.loggers import OwnMetrics
from emote.training.precision import AtomicCheckpointIO, precision_plugin
from emote.util.console import echo
from emote.util.files import write_json
from emote.util.interrupt import StopRequest

if TYPE_CHECKING:
    from emote.hub.run_pushes import ToHub

OWN_METRICS = "own_metrics.jsonl"  # of callbacks.extra


def fit(
    job: Job,
    base_scores: list[float],
    stop: StopRequest,
    loggers: list[Any],
    to_hub: ToHub | None = None,
    process_index: ProcessIndex = ALONE,
) -> None:
    """Train to `max_steps`; nothing to do where its checkpoint exists. Raises Interrupted after a signal, saved.

    place: among the processes that do so together, whose group exists; the first one writes, logs and pushes.
    """
    config, trainer_config = job.config, job.config.trainer
    start = job.folder.latest_checkpoint(at_most=job.max_steps)
    # one of its callbacks has ended this run for good: where it stands, no length of it has more steps
    max_steps = start if start and start == job.stopped_at else job.max_steps
    if start:
        echo(f"going on from step {start}")
    batch, size = trainer_config.batch_size, micro_batch(trainer_config)
    training_set = TrainingSet(
        job.prepared, config.seed, batch, start * batch, max_steps * batch, process_index.rank, process_index.size
    )
    validation = config.callbacks.validation
    ours = callbacks_of(job, start, base_scores, stop, to_hub, writes=not process_index.rank)
    if job.held_out.examples:
        job.module.validates_at = lambda step: is_due(step, validation.every_steps, job.max_steps)
    own = [OwnMetrics(job.folder.root / OWN_METRICS)] if config.callbacks.extra and not process_index.rank else []
    trainer = pl.Trainer(
        accelerator="gpu" if job.decision.device.type == "cuda" else job.decision.device.type,
        strategy=DDPStrategy(cluster_environment=KnownEnvironment(process_index)) if process_index.size > 1 else "auto",
        devices=process_index.local_size,
        num_nodes=process_index.size // process_index.local_size,
        max_steps=max_steps,
        max_epochs=-1,
        val_check_interval=validation.every_steps * (batch // process_index.size // size),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        inference_mode=False,  # what validation loads and draws with is used after it
        log_every_n_steps=1,
        accumulate_grad_batches=batch // process_index.size // size,
        callbacks=[*extra_callbacks(config), *ours],
        logger=[*loggers, *own],
        plugins=[precision_plugin(job.decision.frozen, job.decision.device), AtomicCheckpointIO(job.identity)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=job.folder.root,
    )
    checkpoint = job.folder.checkpoint(start) if start else None
    held_out = job.held_out.batches() if job.held_out.examples else None
    trainer.fit(
        job.module, DataLoader(training_set, batch_size=size), held_out, ckpt_path=checkpoint, weights_only=True
    )
    if job.stopped_at == trainer.global_step:
        by_callback = job.folder.stopped_at() is not None
        why = "a callback of callbacks.extra stopped the run" if by_callback else "held-out loss shows no further gain"
        echo(f"step {trainer.global_step} is the last of {job.max_steps}: {why}")
    if not stop.signal_number:
        job.module.keep_evaluation_weights()
    job.module.to(job.decision.device)  # Lightning leaves it on the CPU
    if stop.signal_number:
        echo(f"stopped at step {trainer.global_step} of {job.max_steps}, saved; the same command goes on from there")
    stop.at_once()


def callbacks_of(
    job: Job, start: int, base_scores: list[float], stop: StopRequest, to_hub: ToHub | None, writes: bool
) -> list[pl.Callback]:
    """In this order: validation fills the step's row, metrics write it, progress and samples show, checkpoint saves,
    and what is pushed to the Hub has it all.

    writes: as the first process does; the others only answer it.
    """
    folder, wanted, max_steps = job.folder, job.config.callbacks, job.max_steps
    checkpoint = Checkpoint(folder, wanted.checkpoint.every_steps, max_steps, stop)
    at_plateau = _stopping(job, writes)
    if not writes:
        return [Validation(job.held_out, wanted.validation.metrics, None, 0.0), *at_plateau, Follow(), checkpoint]
    last_row = folder.metrics.keep_until(folder.latest_checkpoint(at_most=10**9))
    past = [row for row in folder.metrics.rows() if row["step"] <= start]
    best = min([fmean(base_scores or [0.0]), *(row["validation_loss"] for row in past if "validation_loss" in row)])
    callbacks: list[pl.Callback] = [
        Validation(job.held_out, wanted.validation.metrics, folder.best_adapter, best),
        *at_plateau,
        Metrics(folder.metrics, last_row),
        *([Pace(job.config, job.estimate)] if job.estimate else []),
        ProgressLine(max_steps),
        Samples(job.sampler, folder, wanted.samples.every_steps, max_steps),
        checkpoint,
    ]
    if to_hub:
        from emote.training.callbacks.hub import PushToHub  # late: few runs push

        callbacks.append(PushToHub(job, to_hub, base_scores, start))
    return callbacks


def _stopping(job: Job, writes: bool) -> list[pl.Callback]:
    """What ends a run at a plateau, where it is to end there."""
    trainer, validation = job.config.trainer, job.config.callbacks.validation
    if trainer.stop is None:
        return []
    flag = Plateau(job.held_out, job.folder.held_out_losses, validation.every_steps, trainer.stop_validations, writes)
    return [flag, stop_at_plateau()]


def extra_callbacks(config: Config) -> list[pl.Callback]:
    """Those that the configuration names by `_target_`; the other words are their arguments."""
    from hydra.utils import instantiate

    nodes = config.callbacks.extra.values()
    return [instantiate({key: value for key, value in node.items() if key != "only_watches"}) for node in nodes]


def base_scores(job: Job) -> list[float]:
    """Return the base model's held-out losses, computed once a run; empty where nothing is held out."""
    if not job.held_out.examples:
        return []
    path = job.folder.root / "base_validation.json"
    key = {"items": [example.content for example in job.held_out.examples], "timesteps": job.held_out.timesteps}
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["key"] == key:
            return stored["losses"]
    losses = job.held_out.score_base(job.module)
    write_json(path, {"key": key, "losses": losses})
    return losses
