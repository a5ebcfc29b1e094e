"""Runs that train together: from their configurations to the deliverables of each, over one base model in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffusers import UNet2DConditionModel

from emote.config import Config, ConfigError, DataConfig, micro_batch
from emote.data.prepared import Scan, scan
from emote.model import components
from emote.quiet import quiet_libraries
from emote.training.arithmetic import check_arithmetic
from emote.training.clock import Clock
from emote.training.deliver import deliver
from emote.training.environment import device_name
from emote.training.fit import base_scores
from emote.training.identify import Identified, identify
from emote.training.interrupt import StopRequest
from emote.training.job import build_job, encode_data
from emote.training.loggers import build_loggers, finish, log_config, log_delivery
from emote.training.micro_batch import fit_micro_batch
from emote.training.only_one import only_one
from emote.training.packed_fit import Member, fit_together
from emote.training.packed_module import PackedModule
from emote.training.packed_unet import share_frozen
from emote.training.preflight.check import Free, lines, refusals
from emote.training.preflight.estimate import Estimate, estimate
from emote.training.preflight.work import check_start
from emote.training.run import is_delivered, say_finished, set_aside
from emote.training.say import log_to, say, say_warnings, speaking_for


@dataclass
class Part:
    """One of the runs. label: what it is called among them.  outcome: its deliverables, or what ended it."""

    config: Config
    command: list[str]
    label: str
    outcome: Path | Exception | None = None
    clock: Clock = field(default_factory=Clock)
    this: Identified | None = None
    member: Member | None = None
    started_at: int = 0

    @property
    def identified(self) -> Identified:
        assert self.this is not None
        return self.this

    @property
    def trained(self) -> Member:
        assert self.member is not None
        return self.member


def run_together(parts: Sequence[Part]) -> None:
    """Do what the configurations say, and give each part its outcome.

    They differ in rank, alpha, learning rate, `lora.seed` and step count alone. Raises what ends all of them:
    ConfigError for what they have in common, Interrupted after a signal (what was done is saved).
    """
    quiet_libraries()
    say_warnings()
    known: dict[str, Scan] = {}

    def scan_once(data: DataConfig) -> Scan:
        if repr(data) not in known:
            known[repr(data)] = scan(data)
        return known[repr(data)]

    with StopRequest() as stop, ExitStack() as held:
        log_to(None)  # each run has a log of its own
        _each(parts, lambda part: _begin(part, scan_once, held))
        waiting = [part for part in parts if part.outcome is None]
        if waiting:
            _train(waiting, stop)


def _each(parts: Iterable[Part], act: Callable[[Part], None]) -> None:
    """Whose turn fails is out; the others go on."""
    for part in parts:
        if part.outcome is None:
            with speaking_for(part.label, part.this.folder.log if part.this else None):
                try:
                    act(part)
                except Exception as error:
                    part.outcome = error


def _begin(part: Part, scan_once: Callable[[DataConfig], Scan], held: ExitStack) -> None:
    config = part.config
    this = identify(config, scan_once)
    path = this.folder.deliverables(config.trainer.max_steps)
    held.enter_context(only_one(this.folder.root))
    if config.run.fresh:
        set_aside(this.folder)
    if is_delivered(path, config):
        part.outcome = say_finished(this.name, path, None)
        return
    this.folder.root.mkdir(parents=True, exist_ok=True)
    part.this = this


def _train(parts: Sequence[Part], stop: StopRequest) -> None:
    some, config = parts[0].identified, parts[0].config
    names = [part.identified.name for part in parts]
    say(f"{len(parts)} run{'s' * (len(parts) > 1)} in one pass, on {device_name(some.decision.device)}")
    say(f"precision: {some.decision.reason}")
    if some.decision.warning:
        say(f"warning: {some.decision.warning}")
    told = _preflight(parts)
    with _phase(parts, "cache"):
        prepared = encode_data(config, some.base, some.weights, some.found, some.decision)
    frozen = components.load_unet(some.base, some.decision.frozen, variant=config.model.variant)
    if config.trainer.gradient_checkpointing:
        frozen.enable_gradient_checkpointing()

    def build(part: Part) -> None:
        this, folder = part.identified, part.identified.folder
        part.started_at = folder.latest_checkpoint(at_most=part.config.trainer.max_steps)
        unet = share_frozen(frozen)
        job = build_job(
            part.config, this.name, folder, this.base, this.weights, this.decision, prepared, told, unet=unet
        )  # fmt: skip
        job.together = names
        part.member = Member(part.label, job)

    def start(part: Part) -> None:
        member, job = part.trained, part.trained.job
        others = ", ".join(name for name in names if name != job.name)
        say(f"run {job.name}: {job.max_steps} steps" + (f", together with {others}" if others else ""))
        job.mixed = check_arithmetic(job.config, job.decision, job.folder)
        logger = job.config.logger
        member.loggers = build_loggers(logger, job.folder.root, job.name, job.identity, beside_others=len(parts) > 1)
        log_config(member.loggers, job.config)
        with part.clock.phase("train"):
            member.base_scores = base_scores(job)

    def hand_over(part: Part) -> None:
        member, job = part.trained, part.trained.job
        if member.error is not None:
            raise member.error
        path = deliver(job, member.base_scores, part.command, part.started_at, part.clock)
        log_delivery(member.loggers, job.config, job.name, path)
        job.folder.prune_checkpoints(newest=job.max_steps)
        part.outcome = path

    try:
        _each(parts, build)
        if some.decision.device.type == "cuda":
            _fit_micro_batch(parts, frozen)
        _each(parts, start)
        members = [part.trained for part in parts if part.outcome is None]
        with _phase(parts, "train"):
            fit_together(members, frozen, stop)
        _each(parts, hand_over)
    finally:
        for part in parts:
            if part.member is not None:
                finish(part.member.loggers, part.identified.folder.root)


def _preflight(parts: Sequence[Part]) -> Estimate:
    """As of one run with so many times the batch, and an adapter of all ranks. Raises ConfigError as `preflight`."""
    for part in parts:
        check_start(part.identified.base, part.config.lora)
    count, some, config = len(parts), parts[0].identified, parts[0].config
    trainer = replace(
        config.trainer,
        batch_size=count * config.trainer.batch_size,
        max_micro_batch=count * micro_batch(config.trainer),
        max_steps=max(part.config.trainer.max_steps for part in parts),
    )
    lora = replace(config.lora, rank=sum(part.config.lora.rank for part in parts))
    wide = replace(config, trainer=trainer, lora=lora)
    start = min(p.identified.folder.latest_checkpoint(at_most=p.config.trainer.max_steps) for p in parts)
    told = estimate(wide, some.base, some.decision, some.found, start)
    free = Free.here(wide, some.decision.device)
    for line in lines(told, free):
        say(line)
    if wrong := list(refusals(told, free, wide, some.decision)):
        together = (
            f"this is of {count} runs together, each micro-batch {count} times as large; sweep.pack=false is less"
        )
        raise ConfigError("\n".join([*wrong, together]))
    return told


def _fit_micro_batch(parts: Sequence[Part], frozen: UNet2DConditionModel) -> None:
    jobs = [part.trained.job for part in parts if part.outcome is None]
    if not jobs:
        return
    module = PackedModule([job.module for job in jobs], frozen, components.load_scheduler(jobs[0].base))
    found = fit_micro_batch(replace(jobs[0], module=module)).trainer.max_micro_batch
    for job in jobs:
        job.config = replace(job.config, trainer=replace(job.config.trainer, max_micro_batch=found))


def _phase(parts: Iterable[Part], name: str) -> ExitStack:
    stack = ExitStack()
    for part in parts:
        stack.enter_context(part.clock.phase(name))
    return stack
