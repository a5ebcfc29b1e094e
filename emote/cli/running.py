"""What was composed is run: one job, or every job of a sweep in an order in which nothing is computed twice."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from emote.cli.composing import COMPOSING_FAILS, Composer, of_jobs, sweep_of_files
from emote.cli.explaining import explained
from emote.config import Config, problems, to_dataclass
from emote.util.errors import ConfigError, together
from emote.util.places import TRAIN
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    from emote.sweeps.plan import Job
    from emote.sweeps.sweep import Sweep


def run_single(composer: Composer, words: list[str]) -> None:
    """One run. Raises ConfigError for what the configuration or the run itself finds wrong."""
    config = _checked(composer.compose(words))
    if config.launcher.engine != "local":
        raise ConfigError(f"launcher={config.launcher.engine} launches the jobs of a sweep: add -m (one will do)")
    quiet_libraries()
    from emote.training.run import run  # late: it imports torch

    run(config, of_jobs(words))


def run_sweep(composer: Composer, words: list[str]) -> int:
    """Run every job that is not finished, also after one that failed, then the report.

    Hydra's sweeper is not used: it raises the first failure, forgets the others, and knows no order. Raises
    ConfigError with the mistakes of all jobs before the first one starts.
    """
    to_hydra = [word for word in words if word not in of_jobs(words)]
    asked = _compose_all(composer, jobs_of(composer, words), to_hydra)
    quiet_libraries()
    from emote.sweeps.launchers import check_launcher  # late: they import torch
    from emote.sweeps.side_by_side import do_side_by_side
    from emote.sweeps.sweep import Sweep
    from emote.training.distributed.process_index import is_one_of_many

    if is_one_of_many():
        raise ConfigError("start a sweep without torchrun or srun: it starts the processes of its jobs itself")
    check_launcher(asked[0][1])
    sweep = Sweep.begin(asked, shlex.join([*TRAIN.split(), "-m", *of_jobs(words)]))
    if asked[0][1].launcher.engine == "local":
        warned: set[str] = set()
        sweep.do(lambda jobs: _do_here(jobs, sweep, warned))
    else:
        do_side_by_side(sweep)
    return sweep.end()


def _do_here(jobs: Sequence[Job], sweep: Sweep, warned: set[str]) -> None:
    """One after the other, in this process, a line each; what a job says besides stands in its run's log.

    As all were composed when the sweep began: conf/ may be edited by now. warned: warnings that were shown.
    """
    from emote.sweeps.sweep import print_end, run_in_sweep  # late: it imports torch
    from emote.util.console import to_the_log_alone

    for job in jobs:
        failure: Exception | None = None
        try:
            with to_the_log_alone(job.label, warned):
                run_in_sweep(job.config, job.words, sweep.directory)
        except Exception as error:  # its traceback stands in the job's log
            failure = error
        print_end(job, sweep.directory, failure)


def jobs_of(composer: Composer, words: list[str]) -> list[list[str]]:
    """Return the words of each job, as typed, those of the sweep that an experiment brings along first."""
    typed = composer.parser.parse_overrides(of_jobs(words))
    to_hydra = [word for word in words if word not in of_jobs(words)]
    fixed = [str(override.input_line) for override in typed if not override.is_sweep_override()]
    names = {override.key_or_group for override in typed}
    swept = composer.parser.parse_overrides(sweep_of_files(composer.with_hydra([*to_hydra, *fixed])))
    values = [
        [f"{override.get_key_element()}={text}" for text in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in [*(override for override in swept if override.key_or_group not in names), *typed]
    ]
    return [list(job) for job in itertools.product(*values)]


def _compose_all(composer: Composer, jobs: list[list[str]], to_hydra: list[str]) -> list[tuple[list[str], Config]]:
    """to_hydra: words that are no job's own, such as where else files are searched."""
    found: list[tuple[list[str], Config]] = []
    mistakes: dict[str, None] = {}
    for words in jobs:
        try:
            found.append((words, _checked(composer.compose([*to_hydra, *words]))))
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
