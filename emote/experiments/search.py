"""Search by held-out loss: ask Optuna for a configuration, run it, tell what it gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emote.cli.train import compose_config
from emote.config import Config, key
from emote.experiments.search_space import Part, read_space
from emote.util.errors import ConfigError
from emote.util.places import how_to_install
from emote.util.quiet import quiet_libraries

RUN = "run"  # of a trial: the run's directory
LEFT = "left"  # of the study: trials whose process was gone before they ended


@dataclass
class SearchOptions:
    trials: int = key("how many configurations are tried, over all workers", at_least=1, default=20)
    looks: int = key("a trial is looked at after so many equal parts of trainer.max_steps, and stopped where its loss "
                     "is above the median of the others there", at_least=1, default=3)  # fmt: skip
    never_stopped: int = key("trials, from the first on, that are not stopped early", at_least=1, default=4)


def search(options: SearchOptions, words: list[str]) -> Path:
    """Try what the words leave open, from wherever the search stands; returns the report's path.

    The same words go on with an interrupted search, or join one that is under way. Raises ConfigError for mistakes
    before anything is loaded, and without Optuna.
    """
    fixed, space = read_space(words)
    first = compose_config([*fixed, *(f"{part.key}={part.extremes[0]}" for part in space)])
    if not first.data.held_out:
        raise ConfigError("data.held_out must be above 0 for a search, got 0")
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f"a search needs the package optuna: {how_to_install('sweep')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    quiet_libraries()
    facts = json.dumps([sorted(words), options.looks])
    identity = hashlib.sha256(facts.encode()).hexdigest()[:12]
    directory = Path(first.run.dir) / "searches" / f"{first.name}-{identity}"
    return Search(optuna, options, fixed, space, first, directory).go()


@dataclass
class Search:
    """directory: where its journal and its report are kept. first: any configuration of it."""

    optuna: Any
    options: SearchOptions
    fixed: list[str]
    space: list[Part]
    first: Config
    directory: Path

    @cached_property
    def study(self) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.directory.mkdir(parents=True, exist_ok=True)
        return self.optuna.create_study(
            study_name=self.directory.name,
            storage=JournalStorage(JournalFileBackend(str(self.directory / "journal.log"))),
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=self.options.never_stopped),
            load_if_exists=True,
        )

    @property
    def steps(self) -> list[int]:
        """Where a trial is looked at. Each goes on from the last one, so a look costs no step twice."""
        whole, looks = self.first.trainer.max_steps, self.options.looks
        return sorted({max(1, whole * look // looks) for look in range(1, looks + 1)})

    def go(self) -> Path:
        from emote.experiments.search_report import trials_section
        from emote.sweeps.reports.report import print_report, write_report
        from emote.util.console import echo

        echo(f"search {self.directory.name}: {self.options.trials} trials, looked at after {self.steps} steps")
        while self._take_up() < self.options.trials:
            self._try_one()
        if runs := [run for trial in self._trials("COMPLETE", "PRUNED") if (run := trial.user_attrs.get(RUN))]:
            section = trials_section(self.study, self._left)
            print_report(write_report(list(dict.fromkeys(runs)), self.directory, sections=[section]))
        if failed := len(self._trials("FAIL")) - len(self._left):
            echo(f"{failed} trials failed; their errors stand above and in {self.directory / 'logs'}")
        echo(str(self.directory / "report.html"))
        return self.directory / "report.html"

    def _trials(self, *states: str) -> list[Any]:
        wanted = tuple(self.optuna.trial.TrialState[state] for state in states)
        return self.study.get_trials(deepcopy=False, states=wanted)

    @property
    def _left(self) -> list[int]:
        return self.study.user_attrs.get(LEFT, [])

    def _take_up(self) -> int:
        """Trials that are done, or that a living worker is at. Those that a dead one left are queued again."""
        with FileLock(self.directory / ".ask.lock"):
            for trial in self._trials("RUNNING"):
                try:
                    with self._holding(trial.number):
                        self.study.enqueue_trial(trial.params)
                        self.study.set_user_attr(LEFT, [*self._left, trial.number])
                        self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
                except Timeout:
                    continue  # somebody is at it
            return len(self._trials("COMPLETE", "PRUNED", "FAIL", "RUNNING")) - len(self._left)

    def _holding(self, number: int) -> FileLock:
        return FileLock(self.directory / f".trial-{number}.lock", timeout=0)

    def _try_one(self) -> None:
        import traceback

        from emote.util.console import echo
        from emote.util.files import write_text

        # locked, or another worker would find the trial before it is held, or draw from the same seed
        with FileLock(self.directory / ".ask.lock"):
            seed = int(hashlib.sha256(f"{self.first.seed} {len(self.study.trials)}".encode()).hexdigest()[:8], 16)
            self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            trial = self.study.ask()
            held = self._holding(trial.number)
            held.acquire()
        with held:
            chosen = [f"{part.key}={part.suggest(trial)}" for part in self.space]
            echo(f"\ntrial {trial.number + 1}: {' '.join(chosen)}")
            try:
                self._run(trial, chosen)
            except Exception as error:
                said = str(error) if isinstance(error, ConfigError) else traceback.format_exc()
                write_text(self.directory / "logs" / f"{trial.number:03d}.log", " ".join(chosen) + "\n\n" + said)
                echo(f"error: {said}")
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    def _run(self, trial: Any, chosen: Sequence[str]) -> None:
        from emote.training.run import run
        from emote.util.console import echo

        loss = float("nan")
        for step in self.steps:
            words = [*self.fixed, *chosen, f"trainer.max_steps={step}"]
            path = run(compose_config(words), words)
            trial.set_user_attr(RUN, str(path.parent.parent))
            loss = json.loads((path / "summary.json").read_text(encoding="utf-8"))["validation_loss"]["final"]
            trial.report(loss, step)
            if step != self.steps[-1] and trial.should_prune():
                echo(f"stopped after {step:,} steps: its loss is above the median of the others there")
                self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)
                return
        self.study.tell(trial, loss)
