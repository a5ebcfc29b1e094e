"""Draw images with a run's adapter, an adapter file or the base model.

    python scripts/generate.py prompt="a fairy"                        # four, with the newest run
    python scripts/generate.py run=quickstart prompt="a fairy" n=4 seed=7
    python scripts/generate.py run=quickstart prompts_file=ideas.txt compare=true
    python scripts/generate.py run=owner/name prompt="a fairy" "scales=[0.5, 1, 1.5]"
    python scripts/generate.py model=sd15 prompt="an emoji of a fairy"  # the base model alone
    python scripts/generate.py from_image=generated/001-a-fairy/a-fairy-seed7.png

The same seed gives the same image. Each PNG holds its prompt and settings in the form that A1111 writes and reads;
from_image= draws it again from them. Mistakes end with exit code 2, an image that came out as none with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.inference.job import generate
from emote.inference.options import Options

if __name__ == "__main__":
    sys.exit(run_script(Options, generate, __doc__, sys.argv[1:]))
