"""Write captions for images that have none, with a model of the Hub, for a person to edit.

    emote data caption path=my_images
    emote data caption path=my_images model=microsoft/Florence-2-base overwrite=true

Each image gets a .txt of its name, which `data=folder` reads. The model is downloaded once.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Do what the words say; returns the exit code."""
    from emote.cli.keywords import run_script
    from emote.tools.captioner import CaptionOptions, caption_folder

    return run_script(CaptionOptions, caption_folder, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
