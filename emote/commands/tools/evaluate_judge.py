"""Measure what the picture judge can see: real drawings that it recognises, styles, and known transformations.

    emote tools evaluate-judge                                       # OpenMoji and Twemoji, the miniature's judge
    emote tools evaluate-judge sets=[noto.tgz,emojione.tgz]          # and icon packages, as `npm pack` leaves them
    emote tools evaluate-judge transformations=false judge=sd15

Writes judge.md and transformations.md to docs/evaluation.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.judge_eval.evaluate import Options, evaluate

main = partial(run_command, Options, evaluate, __doc__)
