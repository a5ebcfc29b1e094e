"""Versions, device, paths, and what is missing: what to paste into an issue. No secrets.

emote doctor
emote doctor runs_dir=/mnt/drive/runs
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.doctor import DoctorOptions, doctor

main = partial(run_command, DoctorOptions, doctor, __doc__)
