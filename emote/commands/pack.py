"""Make packs of emoji that Slack, Discord and Telegram take: drawn, cut out, sized, named and zipped.

    emote pack run=quickstart "prompts=[a fairy, a robot]" platforms=slack,discord,telegram
    emote pack prompts=ideas.txt n=4 platforms=slack            # the newest run, four of each
    emote pack                                                  # what the newest run drew, for all platforms
    emote pack images=generated/001-a-fairy platforms=telegram  # images that exist

Each zip has its images, a manifest (prompt, seed, model, licence, hashes) and a contact sheet; uncut drawings lie
beside them. Mistakes, and limits that cannot be met, end with exit code 2; an image that was left out with 1.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.packs.options import PackOptions


def _pack(options: PackOptions) -> int:
    from emote.packs.job import pack  # late: help and mistakes need no scipy

    return pack(options)


main = partial(run_command, PackOptions, _pack, __doc__)
