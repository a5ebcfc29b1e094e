"""Open the demo in a browser: draw, compare with the base model, cut out, and pack. Ctrl-C stops it.

python scripts/demo.py                              # the newest quickstart run, or the base model alone
python scripts/demo.py run=latest port=8000 open=false
python scripts/demo.py run=owner/name               # an adapter from the Hub

It is served to this machine alone, asks no other host for anything but the Hub names that you give it, and keeps
nothing: what you do not download is gone when it stops.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.demo.serve import DemoOptions, serve

if __name__ == "__main__":
    sys.exit(run_script(DemoOptions, serve, __doc__, sys.argv[1:]))
