"""List the runs on this disk, or remove one.

emote runs                      # a table
emote runs runs_dir=/mnt/drive/runs
emote runs delete=3f9c21        # one run, by its name or the start of its identity
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.runs.listing import RunsOptions, list_or_delete

main = partial(run_command, RunsOptions, list_or_delete, __doc__)
