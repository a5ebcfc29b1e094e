"""What was composed is run: one job, or every job of a sweep with a table of those that failed."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from emote.command_line.composing import as_typed, for_hydra, sweep_of_files
from emote.command_line.explaining import explained, together
from emote.config import ConfigError, problems, to_dataclass
from emote.quiet import quiet_libraries


def run_single(composer: Hydra, words: list[str]) -> None:
    outcome = composer.run("config", _single_job, for_hydra(words)).return_value
    if isinstance(outcome, ConfigError):
        raise outcome


def run_sweep(composer: Hydra, words: list[str]) -> int:
    """Every job, also after one that failed. Not Hydra's own sweeper, which raises the first failure, forgets the
    others and leaves a multirun.yaml; its launchers are used as they are."""
    words = for_hydra(words)
    master = composer.compose_config("config", words, run_mode=RunMode.MULTIRUN, with_log_configuration=True)
    if master.hydra.runtime.choices["hydra/sweeper"] != "basic":
        composer.multirun("config", _sweep_job, words)
        return 0
    callbacks = Callbacks(master)
    callbacks.on_multirun_start(config=master, config_name="config")
    context = HydraContext(config_loader=composer.config_loader, callbacks=callbacks)
    launcher = Plugins.instance().instantiate_launcher(context, _sweep_job, master)
    said = [*sweep_of_files(master), *as_typed(master.hydra)]
    overrides = OverridesParser.create(composer.config_loader).parse_overrides(said)
    # the sweeper escapes what is not swept (lora.alpha=$\\{lora.rank\\}); it is shown and recorded as typed
    fixed = [o for o in overrides if not o.is_sweep_override()]
    typed = {f"{o.get_key_element()}={o.get_value_element_as_str()}": str(o.input_line) for o in fixed}
    results: list[JobReturn] = []
    for batch in BasicSweeper.split_arguments(overrides, master.hydra.sweeper.max_batch_size):
        jobs = [for_hydra([typed.get(word, word) for word in job]) for job in batch]
        results += launcher.launch(jobs, initial_job_idx=len(results))
    callbacks.on_multirun_end(config=master, config_name="config")
    return _report_failures(results)


def _report_failures(results: list[JobReturn]) -> int:
    # `return_value` would raise, and write to stderr
    failed = [(list(r.overrides or []), r._return_value) for r in results if r.status is not JobStatus.COMPLETED]
    if not failed:
        return 0
    everywhere = set.intersection(*(set(r.overrides or []) for r in results)) if len(results) > 1 else set()
    names = [" ".join(word for word in words if word not in everywhere) for words, _ in failed]
    print(f"\n{len(failed)} of {len(results)} jobs failed:", file=sys.stderr)
    for name, (_, error) in zip(names, failed, strict=True):
        reason = (str(error).strip().splitlines() or [""])[0]
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        print(f"  {name:<{max(map(len, names))}}  {kind}{reason}", file=sys.stderr)
    print("the same command again runs what failed; finished jobs return at once", file=sys.stderr)
    return 1


def run_job(composed: DictConfig) -> Any:
    """One run, as Hydra's launchers call it: mistakes are exceptions here."""
    try:
        config = to_dataclass(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(explained(error)) from error
    if wrong := problems(config):
        raise ConfigError(together(wrong))
    quiet_libraries()
    from emote.training.run import run  # late: it imports torch

    return run(config, as_typed(HydraConfig.get()))


def _single_job(composed: DictConfig) -> Any:
    try:
        return run_job(composed)
    except ConfigError as error:
        return error  # a raised one Hydra would announce in its own words


def _sweep_job(composed: DictConfig) -> Any:
    task = HydraConfig.get()
    print(f"job {task.job.num}: {' '.join(as_typed(task))}", file=sys.stderr, flush=True)
    try:
        return run_job(composed)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise
    except Exception:
        traceback.print_exc()  # of each job at once; Hydra prints the first one's at the end
        raise
