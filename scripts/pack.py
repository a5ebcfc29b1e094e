"""Make packs of emoji that Slack, Discord and Telegram take: drawn, cut out, sized, named and zipped.

    python scripts/pack.py run=quickstart "prompts=[a fairy, a robot]" for=slack,discord,telegram
    python scripts/pack.py prompts=ideas.txt n=4 for=slack            # the newest run, four of each
    python scripts/pack.py                                            # what the newest run drew, for all platforms
    python scripts/pack.py images=generated/001-a-fairy for=telegram  # images that exist

Each zip has its images, a manifest (prompt, seed, model, licence, hashes) and a contact sheet; uncut drawings lie
beside them. Mistakes, and limits that cannot be met, end with exit code 2; an image that was left out with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.packs.options import PackOptions


def main(options: PackOptions) -> int:
    from emote.packs.job import pack  # late: help and mistakes need no scipy

    return pack(options)


if __name__ == "__main__":
    sys.exit(run_script(PackOptions, main, __doc__, sys.argv[1:]))
