"""Weights & Biases: online where there is a key and a network, else offline; never a question, never another run's log.

W&B's own variables are obeyed (WANDB_MODE, WANDB_DISABLED, WANDB_PROJECT, WANDB_NAME, WANDB_ENTITY, WANDB_TAGS,
WANDB_RUN_GROUP, WANDB_NOTES); a key of ours that is set wins.

Everything is handed to W&B's own process, which uploads when it can. Steps are logged as `trainer/global_step`, which
all charts have as their axis: a step that is computed again after an interruption is logged again.
"""

from __future__ import annotations

import netrc
import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from emote.config import LoggerConfig
from emote.hub.background import within
from emote.hub.client import NotNow
from emote.training.loggers import LoggedRun, charted
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.places import how_to_install

PACKAGE = "wandb"
PROBE_S, INIT_S, FINISH_S = 3.0, 20.0, 60.0  # that a run waits for W&B: is it there, at the start, at the end
PROJECT = "stable-emote"  # where neither logger.project nor WANDB_PROJECT says another
STEP = "trainer/global_step"  # as Lightning's logger has it
OLD_HOST = "api.wandb.ai"  # whose keys W&B still takes
SAMPLES, TABLE = "samples", "samples_table"
GAP = 4  # px between a base image and a fine-tuned one


class WandB(WandbLogger):
    """Images as a table too, and with `logger.artifact` the adapter in both formats."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics(charted(metrics), step)

    def log_samples(
        self, step: int, prompts: Sequence[str], seeds: Sequence[int],
        base: Sequence[Image.Image], tuned: Sequence[Image.Image],
    ) -> None:  # fmt: skip
        import wandb

        shown, rows = [], []
        for prompt, seed, before, after in zip(prompts, seeds, base, tuned, strict=True):
            shown.append(wandb.Image(_beside(before, after), caption=f"{prompt} (base, fine-tuned; seed {seed})"))
            rows.append([step, prompt, seed, wandb.Image(before), wandb.Image(after)])
        table = wandb.Table(columns=["step", "prompt", "seed", "base", "fine-tuned"], data=rows)
        super().log_metrics({SAMPLES: shown, TABLE: table}, step=step)  # type: ignore[dict-item]

    def log_delivery(self, config: LoggerConfig, name: str, path: Path, step: int) -> None:
        if not config.artifact:
            return
        import wandb

        artifact = wandb.Artifact(name, type="model", metadata={"step": step})
        for file in (*sorted(path.glob("*.safetensors")), path / "config.yaml", path / "summary.json"):
            artifact.add_file(str(file))
        self.experiment.log_artifact(artifact, aliases=["latest", f"step-{step}"])

    def close(self) -> None:
        close_run(self.experiment, Path(self.save_dir or "."))


def build_logger(config: LoggerConfig, run: LoggedRun) -> Any:
    """Return the logger, None where the environment disables W&B; a resumed run has the same W&B id.

    Raises ConfigError without the package.
    """
    if is_disabled():
        echo("W&B: nothing is logged there, as WANDB_MODE or WANDB_DISABLED says")
        return None
    more = {"reinit": "create_new"} if run.beside_others else {}
    name = config.run_name or os.environ.get("WANDB_NAME") or run.name
    opened = open_run(config, run.root, run.identity, name=name, **more)
    opened.define_metric(STEP)
    opened.define_metric("*", step_metric=STEP, step_sync=True)
    return WandB(experiment=opened, project=opened.project, save_dir=str(run.root))


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
    # what is None, W&B takes from its variables: entity, group, tags and notes too
    wanted: dict[str, Any] = {
        "group": config.group, "project": config.project or os.environ.get("WANDB_PROJECT") or PROJECT,
        "entity": config.entity, "id": identity, "dir": str(root), **more,
    }  # fmt: skip
    run = _start(wanted) if _may_be_online() else None
    if run is None:
        run = wandb.init(**wanted, mode="offline", settings=_settings())
        echo(f"W&B: offline; later: {_sync(sorted((root / 'wandb').glob(f'offline-run-*-{identity}')))}")
    else:
        echo(f"W&B: {run.url}")
    return run


def is_disabled() -> bool:
    """Return whether the environment wants nothing of W&B."""
    said = os.environ.get("WANDB_DISABLED", "").lower()
    return os.environ.get("WANDB_MODE", "").lower() == "disabled" or said not in ("", "false", "0", "no", "off")


def _may_be_online() -> bool:
    if os.environ.get("WANDB_MODE", "online").lower() not in ("", "online", "run") or not has_key():
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
    """Return whether W&B would find a key: in the environment or in the netrc file."""
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


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def close_run(run: Any, root: Path) -> None:
    """Wait a bounded time for what is not uploaded yet; say how to do that later, and where the run is.

    To stderr: a run's last line on stdout is its directory.
    """
    address = None if run.offline else run.url
    try:
        within(FINISH_S + 10, run.finish)
    except NotNow:
        later = _sync(sorted((root / "wandb").glob(f"run-*-{run.id}")))
        print(f"W&B: not everything was uploaded; later: {later}", file=sys.stderr)
    if address:
        print(f"W&B: {address}", file=sys.stderr)


def _sync(directories: list[Path]) -> str:
    """The command that uploads them: a run that was resumed offline has several."""
    from wandb.cli import cli

    needed = any(option.name == "append" for option in cli.sync.params)  # in older releases of W&B
    append = "--append " if needed else ""
    return f"wandb sync {append}{shlex.join(map(str, directories))}"
