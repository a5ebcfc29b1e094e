"""Train several runs together, each with its own callbacks, checkpoints and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pytorch_lightning as pl
from diffusers import UNet2DConditionModel
from torch.utils.data import DataLoader

from emote.config import micro_batch
from emote.data.prepared import TrainingSet
from emote.model import components
from emote.model.adapter import load_adapter_state
from emote.training.callbacks.progress import ProgressLine
from emote.training.fit import callbacks_of, extra_callbacks
from emote.training.interrupt import StopRequest
from emote.training.job import Job
from emote.training.module import LoraModule
from emote.training.packed_module import PackedModule
from emote.training.precision import AtomicCheckpointIO, precision_plugin
from emote.training.say import say, speaking_for


@dataclass
class Member:
    """A run among those that train together. label: what it is called among them.  error: what ended it."""

    label: str
    job: Job
    base_scores: list[float] = field(default_factory=list)
    loggers: list[Any] = field(default_factory=list)
    error: Exception | None = None

    @property
    def stands_at(self) -> int:
        return self.job.folder.latest_checkpoint(at_most=self.job.max_steps)


def fit_together(members: Sequence[Member], frozen: UNet2DConditionModel, stop: StopRequest) -> None:
    """Train each to its `max_steps`, as many as can at a time: who lags behind goes first, until it is level.

    A member whose callbacks raise has that as its `error`, and the others go on.
    frozen: over whose weights the members are. Raises Interrupted after a signal, saved.
    """
    for member in members:
        if member.stands_at == member.job.max_steps:  # what it leaves was lost, or not written any more
            saved = AtomicCheckpointIO().load_checkpoint(member.job.folder.checkpoint(member.job.max_steps))
            load_adapter_state(member.job.module.unet, saved["state_dict"])
    while waiting := [m for m in members if m.error is None and m.stands_at < m.job.max_steps]:
        start = min(member.stands_at for member in waiting)
        level = [member for member in waiting if member.stands_at == start]
        ahead = [member.stands_at for member in waiting if member not in level]
        until = min(ahead + [member.job.max_steps for member in level])
        say(f"steps {start + 1} to {until} of {'; '.join(member.label for member in level)}")
        _fit(level, frozen, start, until, stop)


def _fit(level: Sequence[Member], frozen: UNet2DConditionModel, start: int, until: int, stop: StopRequest) -> None:
    job = level[0].job  # what it has beside its adapter all of them have
    config, io = job.config, AtomicCheckpointIO()
    batch, size = config.trainer.batch_size, micro_batch(config.trainer)
    states = [io.load_checkpoint(m.job.folder.checkpoint(start), map_location="cpu") for m in level if start]
    noise_scheduler = components.load_scheduler(job.base)
    module = PackedModule([member.job.module for member in level], frozen, noise_scheduler, start, states)
    if config.trainer.compile:
        module.unet.compile()
    seats = [Seat(member, module, number, stop) for number, member in enumerate(level)]
    trainer = pl.Trainer(
        accelerator="gpu" if job.decision.device.type == "cuda" else job.decision.device.type,
        devices=1,
        max_steps=until,
        max_epochs=-1,
        accumulate_grad_batches=batch // size,
        callbacks=[*seats, PackProgress(seats, until)],
        logger=False,
        plugins=[precision_plugin(job.decision.frozen, job.decision.device), io],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=job.folder.root,
    )
    rows = TrainingSet(job.prepared, config.seed, batch, start * batch, until * batch)
    trainer.fit(module, DataLoader(rows, batch_size=size))
    module.to(job.decision.device)  # Lightning leaves it on the CPU
    step = trainer.global_step
    for seat in seats:
        if seat.member.error is None and not seat.member.job.folder.checkpoint(step).exists():
            seat.trainer.save_checkpoint(seat.member.job.folder.checkpoint(step))  # where the others go on
    if stop.signal_number:
        say(f"stopped at step {step} of {until}, saved; the same command goes on from there")
    stop.at_once()


class OwnTrainer:
    """What a member's callbacks take for the trainer: that of all, but for what is the member's own."""

    def __init__(self, member: Member, module: PackedModule, number: int) -> None:
        self.loggers = member.loggers
        self._module, self._number = module, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module.trainer, name)

    @property
    def should_stop(self) -> bool:
        return self._module.trainer.should_stop

    @should_stop.setter
    def should_stop(self, stop: bool) -> None:
        self._module.trainer.should_stop = stop

    def save_checkpoint(self, path: Path, weights_only: bool | None = None) -> None:
        AtomicCheckpointIO().save_checkpoint(self._module.state_of(self._number), path)


class Seat(pl.Callback):
    """Hands every hook on to a member's own callbacks, with its own module. The hooks are added below."""

    def __init__(self, member: Member, module: PackedModule, number: int, stop: StopRequest) -> None:
        job = member.job
        own = callbacks_of(job, module.start, member.base_scores, stop, None)
        self.member, self.trainer = member, OwnTrainer(member, module, number)
        self._callbacks = [*extra_callbacks(job.config), *(c for c in own if not isinstance(c, ProgressLine))]

    def hand_on(self, hook: str, *arguments: Any, **keywords: Any) -> None:
        if self.member.error is not None:
            return
        with speaking_for(self.member.label, self.member.job.folder.log):
            try:
                for callback in self._callbacks:
                    getattr(callback, hook)(self.trainer, self.member.job.module, *arguments, **keywords)
            except Exception as error:
                say(f"failed ({type(error).__name__}); the others go on")
                self.member.error = error
                self.trainer.should_stop = True  # they begin again without it


def _handing_on(hook: str) -> Callable[..., None]:
    def call(self: Seat, trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any, **keywords: Any) -> None:
        self.hand_on(hook, *arguments, **keywords)

    return call


for _hook in ("setup", "teardown", *(name for name in vars(pl.Callback) if name.startswith("on_"))):
    setattr(Seat, _hook, _handing_on(_hook))


class PackProgress(ProgressLine):
    """Shows the mean of the members' losses."""

    def __init__(self, seats: Sequence[Seat], max_steps: int) -> None:
        super().__init__(max_steps)
        self.members = [seat.member for seat in seats]

    def on_step(self, trainer: pl.Trainer, module: LoraModule, step: int) -> None:
        rows = [member.job.module.row for member in self.members if member.error is None]
        if losses := [row["loss"] for row in rows if "loss" in row]:
            module.row = {"loss": fmean(losses)}
            super().on_step(trainer, module, step)
