"""Measure cutting out on OpenMoji and Twemoji, whose true transparency is known.

    python scripts/evaluate_cutout.py                        # 1,000 of each over white and over green, 128 px
    python scripts/evaluate_cutout.py n=100 backgrounds=[magenta]
    python scripts/evaluate_cutout.py vae=weights/mini size=64 n=200 backgrounds=[white]   # as generated images look

Prints a table and writes the worst ten of each row as an image.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.tools.cutout_eval.report import Options, evaluate

if __name__ == "__main__":
    sys.exit(run_script(Options, evaluate, __doc__, sys.argv[1:]))
