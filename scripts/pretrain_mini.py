"""Train the miniature from scratch on emoji art in three styles, and write it in diffusers format.

    npm pack @iconify-json/noto @iconify-json/fluent-emoji-flat @iconify-json/noto-v1 @iconify-json/emojione
    python scripts/pretrain_mini.py noto=… fluent=… blob=… emojione=…       # the four .tgz; packed once
    python scripts/pretrain_mini.py device=cuda minutes=8                   # all of it on a GPU, in minutes
    python scripts/pretrain_mini.py device=cuda minutes=8 bundle=out        # only the files; then, anywhere:
    python scripts/pretrain_mini.py unpack=out output=weights/mini
    python scripts/pretrain_mini.py refine=weights/mini output=better minutes=90    # the decoder alone, further

Interrupted at any moment, the same command goes on where it stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.tools.pretraining.make import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
