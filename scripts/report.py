"""Which rank, how long? A page and Markdown on a sweep, or on any runs, finished or not.

    python scripts/report.py runs=runs/sweeps/ranks-3f9c21a0b7d4
    python scripts/report.py runs=ranks-3f9c21a0b7d4                # its name suffices
    python scripts/report.py "runs=[quickstart-e95ba875b33e, smoke-6a25035cb17a]" output=my_report

Nothing is computed and no model is loaded. Every multirun writes the same at its end.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.config import key
from emote.util.errors import ConfigError


@dataclass
class Options:
    runs: list[str] = key("directories or names of sweeps and runs")
    dir: str = key("where runs are kept", default="runs")
    output: str | None = key(
        "directory of report.html and report.md; null: the sweep's, or report/ in dir", default=None
    )


def main(options: Options) -> None:
    if not options.runs:
        raise ConfigError("runs must name sweeps or runs, got nothing")
    from emote.sweeps.index import FILE  # late: they import torch
    from emote.sweeps.reports.report import print_report, write_report
    from emote.sweeps.reports.results import find

    runs_dir = Path(options.dir)
    found = [find(name, runs_dir) for name in options.runs]
    alone = found[0] if len(found) == 1 and (found[0] / FILE).exists() else runs_dir / "report"
    output = Path(options.output) if options.output else alone
    print_report(write_report(found, output, runs_dir))
    print(output / "report.html")


if __name__ == "__main__":
    sys.exit(run_script(Options, main, __doc__, sys.argv[1:]))
