"""What was composed is run: one job, or every job of a sweep in an order in which nothing is computed twice."""

from __future__ import annotations

import itertools
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from emote.cli.composing import COMPOSING_FAILS, as_typed, compose_job, for_hydra, sweep_of_files
from emote.cli.explaining import explained, together
from emote.config import Config, problems, to_dataclass
from emote.util.errors import ConfigError
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    from emote.sweeps.plan import Job
    from emote.sweeps.sweep import Sweep


def run_single(composer: Hydra, words: list[str]) -> None:
    outcome = composer.run("config", _single_job, for_hydra(words)).return_value
    if isinstance(outcome, ConfigError):
        raise outcome


def run_sweep(composer: Hydra, words: list[str]) -> int:
    """Every job that is not finished, also after one that failed, then the report.

    Hydra's sweeper is not used: it raises the first failure, forgets the others, and knows no order. Raises
    ConfigError with the mistakes of all jobs before the first one starts.
    """
    words = for_hydra(words)
    master = composer.compose_config("config", words, run_mode=RunMode.MULTIRUN, with_log_configuration=True)
    if master.hydra.runtime.choices["hydra/sweeper"] != "basic":
        composer.multirun("config", run_job, words)
        return 0
    to_hydra = [word for word in words if word.startswith(("hydra.", "hydra/"))]
    asked = _compose_all(composer, jobs_of(composer, master), to_hydra)
    quiet_libraries()
    from emote.sweeps.launchers import check_launcher  # late: they import torch
    from emote.sweeps.side_by_side import do_side_by_side
    from emote.sweeps.sweep import Sweep
    from emote.training.distributed.process_index import is_one_of_many

    if is_one_of_many():
        raise ConfigError("a sweep is said once, without torchrun or srun: it starts the processes of its jobs itself")
    check_launcher(asked[0][1])
    typed = as_typed(master.hydra)
    sweep = Sweep.begin(asked, shlex.join(["python", "train.py", "-m", *typed]))
    callbacks = Callbacks(master)
    callbacks.on_multirun_start(config=master, config_name="config")
    if asked[0][1].launcher.engine == "local":
        sweep.do(_launch_with_hydra(composer, master, callbacks, sweep))
    else:
        do_side_by_side(sweep)
    callbacks.on_multirun_end(config=master, config_name="config")
    return sweep.end()


def _launch_with_hydra(
    composer: Hydra, master: DictConfig, callbacks: Callbacks, sweep: Sweep
) -> Callable[[Sequence[Job]], None]:
    """What launches jobs of different runs by Hydra's launcher: its own, or a plug-in that hydra/launcher= names."""
    context = HydraContext(config_loader=composer.config_loader, callbacks=callbacks)
    planned: dict[tuple[str, ...], Job] = {}
    task = partial(_sweep_job, directory=sweep.directory, planned=planned)
    launcher = Plugins.instance().instantiate_launcher(context, task, master)
    launched = 0

    def launch(jobs: Sequence[Job]) -> None:
        nonlocal launched
        planned.update({job.words: job for job in jobs})
        size = master.hydra.sweeper.max_batch_size or len(jobs)
        for first in range(0, len(jobs), size):
            batch = jobs[first : first + size]
            launcher.launch([for_hydra(job.words) for job in batch], initial_job_idx=launched)
            launched += len(batch)

    return launch


def jobs_of(composer: Hydra, master: DictConfig) -> list[list[str]]:
    """The words of each job, as typed."""
    said = [*sweep_of_files(master), *as_typed(master.hydra)]
    overrides = OverridesParser.create(composer.config_loader).parse_overrides(said)
    # the sweeper escapes what is not swept (lora.alpha=$\\{lora.rank\\}); it is shown and recorded as typed
    fixed = [o for o in overrides if not o.is_sweep_override()]
    typed = {f"{o.get_key_element()}={o.get_value_element_as_str()}": str(o.input_line) for o in fixed}
    batches = BasicSweeper.split_arguments(overrides, None)
    return [[typed.get(word, word) for word in job] for job in itertools.chain.from_iterable(batches)]


def _compose_all(composer: Hydra, jobs: list[list[str]], to_hydra: list[str]) -> list[tuple[list[str], Config]]:
    """to_hydra: words that are no job's own, such as where else files are searched."""
    composed: dict[tuple[str, ...], DictConfig] = {}
    found: list[tuple[list[str], Config]] = []
    mistakes: dict[str, None] = {}
    for words in jobs:
        try:
            found.append((words, _checked(compose_job(composer, [*to_hydra, *words], composed))))
        except ConfigError as error:
            mistakes |= dict.fromkeys(str(error).splitlines())
        except COMPOSING_FAILS as error:
            mistakes[explained(error)] = None
    if mistakes:
        raise ConfigError(together(list(mistakes)))
    return found


def _checked(composed: DictConfig) -> Config:
    try:
        config = to_dataclass(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(explained(error)) from error
    if wrong := problems(config):
        raise ConfigError(together(wrong))
    return config


def run_job(composed: DictConfig) -> Any:
    """One run, as Hydra's launchers call it: mistakes are exceptions here."""
    config = _checked(composed)
    if config.launcher.engine != "local":
        raise ConfigError(f"launcher={config.launcher.engine} launches the jobs of a sweep: add -m (one will do)")
    quiet_libraries()
    from emote.training.run import run  # late: it imports torch

    return run(config, as_typed(HydraConfig.get()))


def _single_job(composed: DictConfig) -> Any:
    try:
        return run_job(composed)
    except ConfigError as error:
        return error  # a raised one Hydra would announce in its own words


def _sweep_job(_: DictConfig, directory: Path, planned: dict[tuple[str, ...], Job]) -> None:
    """planned: by the words of each job, as all were composed when the sweep began.

    Hydra composes each again when its turn comes, and by then somebody may have edited conf/.
    """
    words = as_typed(HydraConfig.get())
    quiet_libraries()
    from emote.sweeps.sweep import run_in_sweep  # late: it imports torch

    try:
        run_in_sweep(planned[tuple(words)].config, words, directory)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise
    except Exception:
        traceback.print_exc()  # of each job at once, and it stands in the job's log
        raise
