"""From an identified run to its deliverables: encode, train or go on, write.

Nothing here computes a gradient: the loss is in `module.py` (wiring) and `emote/diffusion/objective.py` (maths).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emote.config import Config
from emote.runs.environment import device_name
from emote.training.artifacts import write_artifacts
from emote.training.data_report import report_data
from emote.training.distributed.process_group import ProcessGroup
from emote.training.fit import base_scores, fit
from emote.training.identify import Identified
from emote.training.job import build_job, encode_data
from emote.training.loggers import LoggedRun, build_loggers, finish, log_config, log_delivery
from emote.training.numerics import check_numerics
from emote.training.preflight.check import preflight
from emote.training.preflight.settings import void_together
from emote.training.recover import recover
from emote.util.console import echo
from emote.util.interrupt import StopRequest
from emote.util.quiet import quiet_libraries
from emote.util.timer import Timer

if TYPE_CHECKING:
    from emote.hub.run_pushes import ToHub


def complete(
    config: Config, command: list[str], this: Identified, stop: StopRequest, process_group: ProcessGroup,
    to_hub: ToHub | None, timer: Timer,
) -> Path:  # fmt: skip
    """Do what is left of a run, whose lock is held, and return the directory of its deliverables."""
    quiet_libraries()  # again, as those that came with this module may have changed their minds
    decision, base, found, folder, name = this.decision, this.base, this.found, this.folder, this.name
    step = config.trainer.max_steps
    echo(f"run {name}: {len(found.entries)} images, {step} steps, on {device_name(decision.device)}")
    echo(f"precision: {decision.reason}")
    if decision.warning:
        echo(f"warning: {decision.warning}")
    for line in void_together(config):
        echo(f"warning: {line}")
    found = report_data(config, found, base, folder.root)
    recover(folder, at_most=step)
    estimate = preflight(config, base, this.weights, decision, found, folder)
    if to_hub:
        to_hub.begin(folder.root)
    with timer.phase("cache"):
        prepared = encode_data(config, base, this.weights, found, decision)
    job = build_job(config, name, folder, base, this.weights, decision, prepared, estimate)
    if decision.device.type == "cuda":
        from emote.training.micro_batch import fit_micro_batch

        job.config = fit_micro_batch(job)
    job.mixed = check_numerics(job.config, decision, folder)
    started_at = folder.latest_checkpoint(at_most=step)
    loggers = build_loggers(config.logger, LoggedRun(folder.root, name, job.identity))
    try:
        log_config(loggers, config)
        with timer.phase("train"):
            before = base_scores(job)
            with process_group.training(job.config, name, started_at) as process_index:
                fit(job, before, stop, loggers, to_hub, process_index)
        echo(f"trained to step {step}; writing what it leaves")
        path = write_artifacts(job, before, command, started_at, timer)
        log_delivery(loggers, config, name, path)
    finally:
        finish(loggers)
    return path
