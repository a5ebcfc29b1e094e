"""Weights & Biases: online where there is a key and a network, else offline; never a question, never another run's log.

Everything is handed to W&B's own process, which uploads when it can. Steps are logged as `trainer/global_step`, which
all charts have as their axis: a step that is computed again after an interruption is logged again.
"""

from __future__ import annotations

import dataclasses
import netrc
import os
import socket
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from PIL import Image

from emote.config import Config, LoggerConfig
from emote.hub.background import within
from emote.hub.client import NotNow
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.places import how_to_install

PROBE_S, INIT_S, FINISH_S = 3.0, 20.0, 60.0  # that a run waits for W&B: is it there, at the start, at the end
STEP = "trainer/global_step"  # as Lightning's logger has it
NAMES = {
    "loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm",
    "stuck_share": "train/stuck_share", "validation_loss": "validation/loss", "seconds": "speed/seconds_per_step",
}  # fmt: skip
OLD_HOST = "api.wandb.ai"  # whose keys W&B still takes
SAMPLES, TABLE = "samples", "samples_table"
GAP = 4  # px between a base image and a fine-tuned one


def build_loggers(
    config: LoggerConfig, root: Path, name: str, identity: str, *, beside_others: bool = False
) -> list[Any]:
    """Lightning loggers of a run. A resumed run has the same W&B id. Raises ConfigError without the package.

    beside_others: while other runs of this process log too.
    """
    if not config.wandb:
        return []
    more = {"reinit": "create_new"} if beside_others else {}
    run = open_run(config, root, identity, name=config.run_name or name, **more)
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    from pytorch_lightning.loggers import WandbLogger

    return [WandbLogger(experiment=run, project=config.project, save_dir=str(root))]


def open_run(config: LoggerConfig, root: Path, identity: str, /, **more: Any) -> Any:
    """A W&B run in a process of W&B's own, online where that can be, else offline; whoever opens it closes it with
    `close_run`. The same identity is the same run. Its files go to root/wandb. more: as `wandb.init` takes it.
    Raises ConfigError without the package."""
    os.environ.setdefault("WANDB_SILENT", "true")  # it would print a table of what metrics.csv holds
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            f"logger=wandb needs the package wandb: {how_to_install('wandb')}; or set logger=csv"
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Any] = {"group": config.group, "project": config.project, "entity": config.entity,
              "id": identity, "dir": str(root), **more}  # fmt: skip
    run = _start(wanted) if _may_be_online() else None
    if run is None:
        run = wandb.init(**wanted, mode="offline", settings=_settings())
        echo(f"W&B: offline; later: {_sync(sorted((root / 'wandb').glob(f'offline-run-*-{identity}')))}")
    return run


def _may_be_online() -> bool:
    if os.environ.get("WANDB_MODE", "online") != "online" or not has_key():
        return False
    if not _is_there():
        echo("W&B: it cannot be reached")
        return False
    return True


def _start(wanted: dict[str, Any]) -> Any:
    """An online run, None where W&B does not take it."""
    import wandb

    try:
        return wandb.init(**wanted, mode="online", resume="allow", settings=_settings())
    except Exception as error:  # W&B's own, and what its client raises; no run ends for its log
        wandb.teardown()  # else the id is in use
        echo(f"W&B: {' '.join(str(error).split())[:160]}")
        return None


def _settings() -> Any:
    import wandb

    wanted: dict[str, Any] = {"console": "off", "init_timeout": INIT_S, "finish_timeout": FINISH_S}
    known = wandb.Settings.model_fields
    return wandb.Settings(**{key: value for key, value in wanted.items() if key in known})


def has_key() -> bool:
    """Whether W&B would find a key: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    hosts = {_address()[0]} | ({OLD_HOST} if "WANDB_BASE_URL" not in os.environ else set())
    return any(known.authenticators(host) is not None for host in hosts)


def _address() -> tuple[str, int]:
    import wandb

    url = urlparse(wandb.setup().settings.base_url)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def _is_there() -> bool:
    """Whether anybody listens at W&B's address: it would wait for a minute and a half, and then end the run."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # it is the proxy that knows
    try:
        socket.create_connection(_address(), PROBE_S).close()
    except OSError:
        return False
    return True


def log_config(loggers: Sequence[Any], config: Config) -> None:
    """The resolved configuration."""
    for logger in loggers:
        logger.experiment.config.update(_plain(dataclasses.asdict(config)), allow_val_change=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.name if isinstance(value, Enum) else value


def log_row(loggers: Sequence[Any], row: dict[str, float], batch_size: int, peak_bytes: dict[str, int | None]) -> None:
    """A row of metrics.csv, with throughput and peak memory."""
    if not loggers:
        return
    values = {NAMES[name]: value for name, value in row.items() if name in NAMES}
    values["speed/images_per_second"] = batch_size / row["seconds"]
    values |= {f"memory/{where}_peak_bytes": peak for where, peak in peak_bytes.items() if peak is not None}
    for logger in loggers:
        logger.log_metrics(values, step=int(row["step"]))


def log_samples(
    loggers: Sequence[Any], step: int, prompts: Sequence[str], seeds: Sequence[int],
    base: Sequence[Image.Image], tuned: Sequence[Image.Image],
) -> None:  # fmt: skip
    """Each prompt's images side by side with a caption, and all as a table."""
    if not loggers:
        return
    import wandb

    shown, rows = [], []
    for prompt, seed, before, after in zip(prompts, seeds, base, tuned, strict=True):
        shown.append(wandb.Image(_beside(before, after), caption=f"{prompt} (base, fine-tuned; seed {seed})"))
        rows.append([step, prompt, seed, wandb.Image(before), wandb.Image(after)])
    for logger in loggers:
        table = wandb.Table(columns=["step", "prompt", "seed", "base", "fine-tuned"], data=rows)
        logger.log_metrics({SAMPLES: shown, TABLE: table}, step=step)


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def log_delivery(loggers: Sequence[Any], config: Config, name: str, path: Path) -> None:
    """The images of a finished step count, and with `logger.artifact` its adapter in both formats."""
    if not loggers:
        return
    step = config.trainer.max_steps
    kinds = [sorted((path / "samples").glob(f"*-{kind}.png")) for kind in ("base", "fine-tuned")]
    base, tuned = ([Image.open(file).convert("RGB") for file in files] for files in kinds)
    prompts = config.callbacks.samples.prompts
    if prompts and len(base) == len(tuned) == len(prompts):
        seeds = [config.callbacks.samples.seed + i for i in range(len(prompts))]
        log_samples(loggers, step, prompts, seeds, base, tuned)
    for logger in loggers if config.logger.artifact else ():
        _log_adapter(logger, name, path, step)


def _log_adapter(logger: Any, name: str, path: Path, step: int) -> None:
    import wandb

    artifact = wandb.Artifact(name, type="model", metadata={"step": step})
    for file in (*sorted(path.glob("*.safetensors")), path / "config.yaml", path / "summary.json"):
        artifact.add_file(str(file))
    logger.experiment.log_artifact(artifact, aliases=["latest", f"step-{step}"])


def finish(loggers: Sequence[Any], root: Path) -> None:
    """Close them: a second logger in one process would otherwise go on with the first one's run."""
    for logger in loggers:
        close_run(logger.experiment, root)


def close_run(run: Any, root: Path) -> None:
    """Waits a bounded time for what is not uploaded yet, and says how to do that later."""
    try:
        within(FINISH_S + 10, run.finish)
    except NotNow:
        echo(f"W&B: not everything was uploaded; later: {_sync(sorted((root / 'wandb').glob(f'run-*-{run.id}')))}")


def _sync(directories: list[Path]) -> str:
    """The command that uploads them: a run that was resumed offline has several."""
    from wandb.cli import cli

    needed = any(option.name == "append" for option in cli.sync.params)  # in older releases of W&B
    append = "--append " if needed else ""
    return f"wandb sync {append}{' '.join(map(str, directories))}"
