"""Train the miniature from scratch on OpenMoji and Twemoji, and write it in diffusers format.

    python scripts/pretrain_mini.py output=weights/mini
    python scripts/pretrain_mini.py unet_steps=40000      # longer
    python scripts/pretrain_mini.py vae_from=weights/mini # keep its autoencoder, train the rest

Interrupted at any moment, the same command goes on where it stopped. About 4 hours on 2 CPU cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.tools.pretraining.make import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
