"""Which rank, how long? A page and Markdown on a sweep, or on any runs, finished or not.

    emote report runs=ranks-3f9c21a0b7d4                  # a sweep by its name
    emote report runs=3f9c21                              # or by the start of its identity
    emote report "runs=[quickstart-e95ba875b33e, smoke]" output=my_report
    emote report runs=ranks-3f9c21a0b7d4 best=recognised   # by what is seen in their images, where these were judged

Nothing is computed and no model is loaded. Every multirun writes the same at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emote.cli.keywords import run_command
from emote.config import key
from emote.util.errors import ConfigError


@dataclass
class Options:
    runs: list[str] = key("directories, names or identities of sweeps and runs")
    runs_dir: str = key("where runs are kept", default="runs")
    best: str = key("what the best is chosen by: loss, recognised or usable", default="loss")
    output: str | None = key(
        "directory of report.html and report.md; null: the sweep's, or report/ in runs_dir", default=None
    )


def report(options: Options) -> None:
    """Write the report and print the answer and its path. Raises ConfigError for names of nothing."""
    if not options.runs:
        raise ConfigError("runs must name sweeps or runs, got nothing")
    from emote.sweeps.index import FILE  # late: they import torch
    from emote.sweeps.reports.report import print_report, write_report
    from emote.sweeps.reports.results import find

    runs_dir = Path(options.runs_dir)
    found = [find(name, runs_dir) for name in options.runs]
    alone = found[0] if len(found) == 1 and (found[0] / FILE).exists() else runs_dir / "report"
    output = Path(options.output) if options.output else alone
    print_report(write_report(found, output, runs_dir, best=options.best))
    print(output / "report.html")


main = partial(run_command, Options, report, __doc__)
