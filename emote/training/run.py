"""A run from its configuration to its deliverables: identify, encode, train or go on, deliver.

Nothing here computes a gradient: the loss is in `module.py` (wiring) and `emote/model/objective.py` (maths).
"""

from __future__ import annotations

import gc
import json
import math
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader

from emote.config import Config, ConfigError, micro_batch
from emote.data.prepared import Prepared, Scan, TrainingSet, prepare, scan
from emote.files import write_json
from emote.model import components
from emote.model.adapter import attach, trainable
from emote.model.precision import Decision, decide
from emote.quiet import quiet_libraries
from emote.training.callbacks.checkpoint import Checkpoint
from emote.training.callbacks.metrics import Metrics
from emote.training.callbacks.progress import ProgressLine
from emote.training.callbacks.samples import Samples
from emote.training.callbacks.validation import Validation
from emote.training.deliver import Delivery, loss_means, write_config
from emote.training.environment import device_name, git_revision, package_versions, peak_memory_bytes
from emote.training.held_out import HeldOut
from emote.training.identity import deliverable_key, identity
from emote.training.interrupt import Interrupted, StopRequest
from emote.training.module import LoraModule
from emote.training.precision import AtomicCheckpointIO, precision_plugin
from emote.training.run_folder import RunFolder
from emote.training.samples import Sampler
from emote.training.say import log_to, say, say_warnings

__all__ = ["Interrupted", "run"]


def run(config: Config, command: list[str]) -> Path:
    """Do what the configuration says, from wherever it stands, and return the directory of the deliverables.

    command: the words of the command line, for the record.
    Raises ConfigError for a user's mistake, Interrupted after a signal (what was done is saved).
    """
    quiet_libraries()
    say_warnings()
    with StopRequest() as stop:
        try:
            return _run(config, command, stop)
        finally:
            log_to(None)


def _run(config: Config, command: list[str], stop: StopRequest) -> Path:
    began = time.perf_counter()
    decision, base = _hardware_and_model(config)
    found = scan(config.data)
    memo = Path(config.run.cache_dir)
    weights = {
        part: components.fingerprint(base, part, variant=config.model.variant, cache_dir=memo)
        for part in ("unet", "vae", "text_encoder")
    }
    name = f"{config.name}-{identity(config, found.identity, weights)}"
    folder = RunFolder(Path(config.run.dir) / name)
    step = config.trainer.max_steps

    with _only_one(folder.root):
        if config.run.fresh:
            _set_aside(folder)
        done = folder.deliverables(step)
        if _is_delivered(done, config):
            _say_if_code_changed(done)
            say(f"finished already: {step} steps of {name} (run.fresh=true starts again)")
            say(str(done))
            return done
        folder.root.mkdir(parents=True, exist_ok=True)
        log_to(folder.log)
        say(f"run {name}: {len(found.entries)} pictures, {step} steps, on {device_name(decision.device)}")
        say(f"precision: {decision.reason}")
        mixed = _check_arithmetic(config, decision, folder)

        clock = {"cache": 0.0, "train": 0.0, "sample": 0.0}
        with _timed(clock, "cache"):
            prepared = _prepare(config, base, weights, found, decision)
        module = _build_module(config, base, prepared, decision)
        sampler = Sampler(
            config.callbacks.samples,
            partial(components.load_vae, base, torch.float32, "cpu", variant=config.model.variant),
            prepared.text,
            components.load_scheduler(base).config,
            config.data.resolution,
        )
        held_out = HeldOut(prepared, config.callbacks.validation.timesteps, config.callbacks.validation.max_items)

        started_at = folder.latest_checkpoint(at_most=step)
        with _timed(clock, "train"):
            base_scores = _base_scores(folder, held_out, module, config)
            _fit(config, folder, prepared, module, sampler, held_out, base_scores, decision, stop, name)
        say(f"trained to step {step}; writing what it leaves")
        delivery = Delivery(folder, step)
        final_scores = held_out.score(module) if held_out.examples else []
        with _timed(clock, "sample"):
            if config.callbacks.samples.prompts:
                title = f"{name} · step {step}"
                sampler.write_sheet(delivery.path / "samples.png", module, title, singles=delivery.path / "samples")
        base_loss = fmean(base_scores) if base_scores else None
        rows = delivery.write_metrics(base_loss, f"{name} · {step} steps")
        compared = delivery.write_validation(held_out.examples, base_scores, final_scores)
        revision = git_revision()
        delivery.write_adapter(module, config, config.name, _kohya_metadata(config, prepared))
        delivery.write_skipped(prepared.skipped)
        write_config(config, delivery.path / "config.yaml")
        clock["total"] = time.perf_counter() - began
        seconds = [row["seconds"] for row in rows if "seconds" in row]
        per_step = median(seconds) if seconds else math.nan
        parameters = trainable(module.unet)
        path = delivery.finish(
            {
                "identity": name.rsplit("-", 1)[1],
                "name": config.name,
                "max_steps": step,
                "steps_run": step - started_at,
                "resumed_from_step": started_at or None,
                "train_loss": loss_means(rows),
                "validation_loss": compared.as_dict() if compared else {"base": None, "final": None},
                "seconds": {key: round(value, 3) for key, value in clock.items()},
                "seconds_per_step": per_step,
                "images_per_second": config.trainer.batch_size / per_step,
                "peak_memory_bytes": peak_memory_bytes(decision.device),
                "device": device_name(decision.device),
                "precision": {
                    "frozen": str(decision.frozen).removeprefix("torch."),
                    "adapter": config.lora.dtype.name,
                    "reason": decision.reason,
                },
                "micro_batch": micro_batch(config.trainer),
                "mixed": mixed,
                "adapter": {
                    "rank": config.lora.rank,
                    "alpha": config.lora.alpha,
                    "modules": len(parameters) // 2,
                    "parameters": sum(p.numel() for p in parameters.values()),
                },
                "items": {"training": len(prepared.training), "held_out": len(prepared.held_out)},
                "skipped_items": [{"name": item.name, "reason": item.reason} for item in prepared.skipped],
                "command": shlex.join(["python", "train.py", *command]),
                "git_revision": revision,
                "packages": package_versions(),
                "deliverable_key": deliverable_key(config),
            }
        )
        folder.prune_checkpoints(newest=step)
        _say_result(path, compared, prepared)
        return path


def _hardware_and_model(config: Config) -> tuple[Decision, Path]:
    """Both are looked at before either is complained about."""
    complaints: list[str] = []
    found: list[Any] = []
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: decide(config.trainer.precision, config.trainer.accelerator),
        lambda: components.locate(config.model),
    )
    for attempt in attempts:
        try:
            found.append(attempt())
        except ConfigError as error:
            complaints += [line for line in str(error).splitlines() if line not in complaints]
    if complaints:
        advice = [line for line in complaints if line.startswith("here works:")]
        raise ConfigError("\n".join([*(line for line in complaints if line not in advice), *advice[:1]]))
    return found[0], found[1]


def _prepare(config: Config, base: Path, weights: dict[str, str], found: Scan, decision: Decision) -> Prepared:
    """Encode what is not encoded yet. VAE and text encoder exist only within this call."""
    device = decision.device

    def load_picture_encoder() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        # float32: half precision overflows in SD's VAE, and this happens once
        vae = components.load_vae(base, torch.float32, device, variant=config.model.variant)
        return lambda pixels: components.encode_pictures(vae, pixels.to(device))

    def load_text_encoder() -> Callable[[list[str]], torch.Tensor]:
        tokenizer = components.load_tokenizer(base)
        encoder = components.load_text_encoder(base, torch.float32, device, variant=config.model.variant)
        return lambda captions: components.encode_prompts(tokenizer, encoder, captions)

    prepared = prepare(
        found,
        config.data,
        load_picture_encoder=load_picture_encoder,
        picture_encoder_key=weights["vae"],
        load_text_encoder=load_text_encoder,
        text_encoder_key=weights["text_encoder"],
        cache_dir=Path(config.run.cache_dir),
        prompts=config.callbacks.samples.prompts,
        workers=config.trainer.num_workers,
    )
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return prepared


def _build_module(config: Config, base: Path, prepared: Prepared, decision: Decision) -> LoraModule:
    unet = components.load_unet(base, decision.frozen, variant=config.model.variant)
    if config.trainer.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    attach(unet, config.lora)
    scheduler = components.load_scheduler(base)
    module = LoraModule(unet, scheduler, prepared.text.get(""), config.trainer, config.seed).to(decision.device)
    module.train()  # for the adapter's dropout; nothing frozen has any
    if config.trainer.compile:
        unet.compile()
    return module


def _base_scores(folder: RunFolder, held_out: HeldOut, module: LoraModule, config: Config) -> list[float]:
    """The base model's held-out losses, computed once a run."""
    if not held_out.examples:
        return []
    path = folder.root / "base_validation.json"
    key = {"items": [e.content for e in held_out.examples], "timesteps": held_out.timesteps}
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["key"] == key:
            return stored["losses"]
    losses = held_out.score_base(module)
    write_json(path, {"key": key, "losses": losses})
    return losses


def _fit(
    config: Config,
    folder: RunFolder,
    prepared: Prepared,
    module: LoraModule,
    sampler: Sampler,
    held_out: HeldOut,
    base_scores: list[float],
    decision: Decision,
    stop: StopRequest,
    name: str,
) -> None:
    """Train from the nearest checkpoint to `max_steps`; at once where that exists. Raises Interrupted."""
    trainer_config, max_steps = config.trainer, config.trainer.max_steps
    start = folder.latest_checkpoint(at_most=max_steps)
    furthest = folder.latest_checkpoint(at_most=10**9)
    last_row = folder.metrics.keep_until(furthest)
    if start:
        say(f"going on from step {start}")
    scored = [r["validation_loss"] for r in folder.metrics.rows() if "validation_loss" in r and r["step"] <= start]
    size = micro_batch(trainer_config)
    batch = trainer_config.batch_size
    training_set = TrainingSet(prepared, config.seed, batch, start * batch, max_steps * batch)
    callbacks: list[pl.Callback] = [
        Metrics(folder.metrics, last_row),
        ProgressLine(max_steps),
        Samples(sampler, folder, config.callbacks.samples.every_steps, max_steps),
        Checkpoint(folder, config.callbacks.checkpoint.every_steps, max_steps, stop),
    ]
    if held_out.examples:
        every = config.callbacks.validation.every_steps
        best = min([*scored, fmean(base_scores)])
        callbacks.insert(0, Validation(held_out, folder, every, max_steps, best))
    loggers = _loggers(config, folder, name)
    trainer = pl.Trainer(
        accelerator="gpu" if decision.device.type == "cuda" else decision.device.type,
        devices=trainer_config.devices,
        max_steps=max_steps,
        max_epochs=-1,
        accumulate_grad_batches=batch // trainer_config.devices // size,
        callbacks=[*_extra_callbacks(config), *callbacks],
        logger=loggers,
        plugins=[precision_plugin(decision.frozen, decision.device), AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=folder.root,
    )
    loader = DataLoader(training_set, batch_size=size)
    checkpoint = folder.checkpoint(start) if start else None
    try:
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    finally:
        for logger in loggers:
            logger.experiment.finish()
    module.to(decision.device)  # Lightning leaves it on the CPU
    if stop.signal_number:
        step = trainer.global_step
        say(f"stopped at step {step} of {max_steps}, saved; the same command goes on from there")
    stop.at_once()


def _loggers(config: Config, folder: RunFolder, name: str) -> list[Any]:
    if not config.logger.wandb:
        return []
    try:
        import wandb
        from pytorch_lightning.loggers import WandbLogger
    except ImportError as error:
        raise ConfigError(
            'logger=wandb needs the package wandb: pip install "emote[wandb]", or say logger=csv'
        ) from error
    has_key = bool(wandb.setup().settings.api_key)
    logger = WandbLogger(
        name=name, id=name.rsplit("-", 1)[1], project=config.logger.project, entity=config.logger.entity,
        save_dir=str(folder.root), offline=not has_key, resume="allow",
    )  # fmt: skip
    if not has_key:
        say(f"W&B: no key, so offline; later: wandb sync --append {folder.root}/wandb/offline-run-*")
    return [logger]


def _extra_callbacks(config: Config) -> list[pl.Callback]:
    from hydra.utils import instantiate

    return [instantiate(node) for node in config.callbacks.extra.values()]


def _kohya_metadata(config: Config, prepared: Prepared) -> dict[str, str]:
    trainer = config.trainer
    return {
        "ss_output_name": config.name,
        "ss_sd_model_name": config.model.path,
        "ss_learning_rate": repr(trainer.learning_rate),
        "ss_lr_scheduler": trainer.schedule.name,
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_max_train_steps": str(trainer.max_steps),
        "ss_steps": str(trainer.max_steps),
        "ss_batch_size_per_device": str(trainer.batch_size),
        "ss_num_train_images": str(len(prepared.training)),
        "ss_resolution": f"({config.data.resolution}, {config.data.resolution})",
        "ss_seed": str(config.seed),
        "ss_max_grad_norm": str(trainer.max_grad_norm),
        "ss_min_snr_gamma": str(trainer.snr_gamma),
        "ss_caption_dropout_rate": str(trainer.caption_dropout),
        "modelspec.resolution": f"{config.data.resolution}x{config.data.resolution}",
    }


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Two processes must not write one run."""
    lock = root.with_name(f".{root.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"{root} is being worked on by another process; wait for it, or stop it") from error


@contextmanager
def _timed(clock: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    clock[name] += time.perf_counter() - began


def _set_aside(folder: RunFolder) -> None:
    if folder.root.exists():
        count = 1
        while (aside := folder.root.with_name(f"{folder.root.name}.old{count}")).exists():
            count += 1
        folder.root.rename(aside)
        say(f"starting again; the run so far is kept in {aside}")


def _is_delivered(path: Path, config: Config) -> bool:
    summary = path / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["deliverable_key"] == deliverable_key(config)


def _say_if_code_changed(path: Path) -> None:
    then, now = json.loads((path / "summary.json").read_text())["git_revision"], git_revision()
    if then != now:
        say(f"note: it was made by revision {then}, the code is now at {now}")


def _check_arithmetic(config: Config, decision: Decision, folder: RunFolder) -> bool:
    """Compare with what the first steps were computed on. Returns whether the run is now a mixed one.

    Raises ConfigError where device, precision or micro-batch differ and `run.mixed` does not allow it.
    """
    now: dict[str, Any] = {
        "device": device_name(decision.device),
        "precision": str(decision.frozen).removeprefix("torch."),
        "micro_batch": micro_batch(config.trainer),
        "torch": torch.__version__,
    }
    path = folder.root / "arithmetic.json"
    if not path.exists() or not folder.checkpoint_steps():
        write_json(path, {**now, "mixed": False})
        return False
    before = json.loads(path.read_text())
    changed = [f"{key} {before[key]} → {value}" for key, value in now.items() if before[key] != value]
    if changed and any(before[key] != now[key] for key in ("precision", "micro_batch")) and not config.run.mixed:
        raise ConfigError(
            f"this run was begun with other arithmetic ({'; '.join(changed)}), so it would not stay bit-identical\n"
            "say run.mixed=true to go on all the same, or run.fresh=true to start again"
        )
    if changed:
        say(f"note: going on with other arithmetic ({'; '.join(changed)}); bit-identity is not promised")
        before["mixed"] = True
        write_json(path, before)
    return bool(before["mixed"])


def _say_result(path: Path, compared: Any, prepared: Prepared) -> None:
    if prepared.skipped:
        say(f"skipped {len(prepared.skipped)} items, named in {path / 'skipped.txt'}")
    if compared:
        low, high = compared.interval_95 or (math.nan, math.nan)
        say(
            f"held-out loss: base {compared.base:.5f}, fine-tuned {compared.final:.5f} "
            f"({compared.relative:+.1%}; difference {compared.difference:+.5f}, "
            f"95 % interval {low:+.5f} to {high:+.5f}, {compared.items} items of {compared.concepts} concepts)"
        )
    if (path / "samples.png").exists():
        say(f"before and after: {path / 'samples.png'}")
    say(str(path))
