"""Push a run to the Hugging Face Hub: what is pending of it, else its last finished step count.

python scripts/push.py                                  # the run that finished last
python scripts/push.py run=quickstart repo=me/openmoji  # one of them, to a name of your own
python scripts/push.py run=3f9c21 private=false         # by the start of its identity; readable by all
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.hub.push_later import Push, push_later

if __name__ == "__main__":
    sys.exit(run_script(Push, push_later, __doc__, sys.argv[1:]))
