"""Write captions for images that have none, with a model of the Hub, for a person to edit.

    emote data caption path=my_images
    emote data caption path=my_images model=microsoft/Florence-2-base overwrite=true

Each image gets a .txt of its name, which `data=folder` reads. The model is downloaded once.
"""

from __future__ import annotations

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.captioner import CaptionOptions, caption_folder

main = partial(run_command, CaptionOptions, caption_folder, __doc__)
