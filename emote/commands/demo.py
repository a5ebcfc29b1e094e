"""Open the demo in a browser: draw, compare with the base model, cut out, pack, and train. Ctrl-C stops it.

    emote demo                              # the newest run, or the base model alone
    emote demo run=latest port=8000 open=false
    emote demo run=owner/name               # an adapter from the Hub

It is served to this machine alone; host= and share= let others in, who can then draw and train here. It asks no other
host for anything but the Hub names that you give it. What is drawn and not downloaded is gone when it stops; what is
trained lies in runs_dir, as if trained in a terminal.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.demo.serve import DemoOptions, serve

main = partial(run_command, DemoOptions, serve, __doc__)
