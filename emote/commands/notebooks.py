"""Write notebooks/*.ipynb from notebooks/source/*.py.

emote notebooks                    # after a change of words: outputs of unchanged cells are kept
emote notebooks execute=true       # run them; inference draws with the newest run in runs/
emote notebooks only=inference execute=true
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.notebooks.make import Options, make

main = partial(run_command, Options, make, __doc__)
