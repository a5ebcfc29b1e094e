"""Train the miniature's speed adapter, and write it with a sheet and a card.

    emote tools speed-mini                                          # into weights/mini-speed
    emote tools speed-mini "train=[trainer.max_steps=4000]" output=better
    emote tools speed-mini run=speed output=better                  # of a run that is finished

Interrupted, the same command goes on where it stopped.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.speed_mini import SpeedOptions, make

main = partial(run_command, SpeedOptions, make, __doc__)
