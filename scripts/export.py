"""Say what an adapter file is, or turn it into something else.

python scripts/export.py input=style.safetensors                                  # what is it, and is it usable?
python scripts/export.py input=quickstart to=kohya output=quickstart.safetensors  # for ComfyUI and A1111
python scripts/export.py input=style.safetensors to=diffusers output=style        # a directory
python scripts/export.py input=quickstart to=kohya rank=4 dtype=fp16 output=small.safetensors
python scripts/export.py input=quickstart to=fuse output=merged                   # a model in diffusers' layout
python scripts/export.py input=quickstart to=fuse dtype=fp16 output=merged.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.inference.export import Export, export

if __name__ == "__main__":
    sys.exit(run_script(Export, export, __doc__, sys.argv[1:]))
