"""Open the demo in a browser: draw, compare with the base model, cut out, and pack. Ctrl-C stops it.

    emote demo                              # the newest quickstart run, or the base model alone
    emote demo run=latest port=8000 open=false
    emote demo run=owner/name               # an adapter from the Hub

It is served to this machine alone, asks no other host for anything but the Hub names that you give it, and keeps
nothing: what you do not download is gone when it stops.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.demo.serve import DemoOptions, serve

main = partial(run_command, DemoOptions, serve, __doc__)
