"""Check on this machine's GPU what no CPU can show, and write it down.

    python scripts/check_gpu.py                      # fp16 with loss scaling, as on a T4
    python scripts/check_gpu.py precision=bf16 output=docs/gpu.md

Trains Stable Diffusion 1.5 with random weights for 200 steps of 8 images at 256 px, through the real trainer and
under a cap of 15 GB: finite losses, peak of memory, attention kernel, seconds a step, and the estimates beside them.
No weights or images are needed; under 10 minutes. Exit code 1 where something did not hold, 2 without a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.tools.gpu_check.check import check_gpu
from emote.tools.gpu_check.findings import CheckConfig

if __name__ == "__main__":
    sys.exit(run_script(CheckConfig, check_gpu, __doc__, sys.argv[1:]))
