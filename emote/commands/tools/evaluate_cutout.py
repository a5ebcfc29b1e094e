"""Measure cutting out on OpenMoji and Twemoji, whose true transparency is known.

    emote tools evaluate-cutout                        # 1,000 of each over white and over green, 128 px
    emote tools evaluate-cutout n=100 backgrounds=[magenta]
    emote tools evaluate-cutout vae=weights/mini size=64 n=200 backgrounds=[white]   # as generated images look

Prints a table and writes the worst ten of each row as an image.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.cutout_eval.report import Options, evaluate

main = partial(run_command, Options, evaluate, __doc__)
