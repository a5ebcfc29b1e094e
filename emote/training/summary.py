"""summary.json: what a run tells scripts. docs/training.md documents every key."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from emote.config import micro_batch
from emote.evaluation.paired import PairedResult
from emote.lora.adapter import trainable
from emote.runs.environment import device_name, git_revision, package_versions, peak_memory_bytes
from emote.runs.identity import deliverable_key, plain
from emote.runs.metrics_file import Row
from emote.runs.run_folder import CALLBACK, PLATEAU
from emote.training.image_check import ImageCheck
from emote.training.job import Job
from emote.util.places import TRAIN
from emote.util.timer import Timer

MEAN_OF_STEPS = 500  # as the reported run's losses


def summarise(
    job: Job,
    command: list[str],
    started_at: int,
    rows: Sequence[Row],
    compared: PairedResult | None,
    timer: Timer,
    checked: ImageCheck | None = None,
) -> dict[str, Any]:
    """Return all keys but `files`, which the delivery adds.

    started_at: the step that this process found. rows: of metrics.csv. clock: of this process. checked: what was
    seen of the images.
    """
    config, decision, prepared = job.config, job.decision, job.prepared
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    per_step = median(seconds) if seconds else math.nan
    parameters = trainable(job.module.unet)
    stopped = job.stopped_at
    stopped = stopped if stopped and stopped < job.max_steps else None
    return {
        "identity": job.identity,
        "name": config.name,
        "max_steps": job.max_steps,
        "steps_run": (stopped or job.max_steps) - started_at,
        **({"stopped_at_step": stopped, "stopped_by": _stopped_by(job)} if stopped else {}),
        "resumed_from_step": started_at or None,
        "train_loss": loss_means(rows),
        "validation_loss": compared.as_dict() if compared else {"base": None, "final": None},
        "images": checked.as_dict() if checked else None,
        "seconds": timer.seconds(),
        "seconds_per_step": per_step,
        "images_per_second": config.trainer.batch_size / per_step,
        "peak_memory_bytes": peak_memory_bytes(decision.device),
        "estimate": job.estimate.as_dict() if job.estimate else None,
        "device": device_name(decision.device),
        "processes": config.trainer.devices * config.trainer.nodes,
        "precision": {
            "frozen": str(decision.frozen).removeprefix("torch."),
            "adapter": config.lora.dtype.name,
            "reason": decision.reason,
        },
        "micro_batch": micro_batch(config.trainer),
        "mixed": job.mixed,
        "adapter": {
            "rank": config.lora.rank,
            "alpha": config.lora.alpha,
            **({} if config.lora.variant == "lora" else {"variant": plain(config.lora.variant)}),
            "modules": sum(".lora_A." in name for name in parameters),
            "parameters": sum(p.numel() for p in parameters.values()),
        },
        "items": {"training": len(prepared.training), "held_out": len(prepared.held_out)},
        "skipped_items": [{"name": item.name, "reason": item.reason} for item in prepared.skipped],
        "command": shlex.join([*TRAIN.split(), *command]),
        "git_revision": git_revision(),
        "packages": package_versions(),
        "deliverable_key": deliverable_key(config),
    }


def _stopped_by(job: Job) -> str:
    return PLATEAU if job.folder.stopped_at() is None else CALLBACK


def loss_means(rows: Sequence[Row]) -> dict[str, float | None]:
    losses = [row["loss"] for row in rows if "loss" in row]
    if not losses:
        return {"first_500_mean": None, "last_500_mean": None}
    return {"first_500_mean": fmean(losses[:MEAN_OF_STEPS]), "last_500_mean": fmean(losses[-MEAN_OF_STEPS:])}
