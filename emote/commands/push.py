"""Push a run to the Hugging Face Hub: what is pending of it, else its last finished step count.

emote push                                  # the run that finished last
emote push run=quickstart repo=me/openmoji  # one of them, to a name of your own
emote push run=3f9c21 private=false         # by the start of its identity; readable by all
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.hub.push_later import Push, push_later

main = partial(run_command, Push, push_later, __doc__)
