"""List the runs on this disk, or remove one.

python scripts/runs.py                      # a table
python scripts/runs.py dir=/mnt/drive/runs
python scripts/runs.py delete=3f9c21        # one run, by its name or the start of its identity
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from emote.util.errors import ConfigError
from emote.util.hints import nearest


def main(arguments: list[str]) -> int:
    options = {"dir": "runs", "delete": ""}
    for argument in arguments:
        name, found, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(__doc__.strip())
            return 0
        if not found or name not in options:
            close = nearest(name, options)
            print(f"error: keys are dir= and delete=, got {argument}" + (f"; did you mean {close}=?" if close else ""),
                  file=sys.stderr)  # fmt: skip
            return 2
        options[name] = value

    from emote.runs.listing import delete_run, list_runs, print_runs
    from emote.util.units import readable_bytes

    directory = Path(options["dir"])
    try:
        if options["delete"]:
            row = delete_run(directory, options["delete"])
            print(f"removed {row.name} ({readable_bytes(row.size_bytes)})")
            return 0
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = list_runs(directory)
    if rows:
        print_runs(rows, Console(width=None if sys.stdout.isatty() else 200))
    else:
        print(f"no runs in {directory}; python train.py experiment=smoke makes one in 20 seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
