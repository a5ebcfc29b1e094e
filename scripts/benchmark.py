"""Time a training step: as others make it, as training makes it here, and with what could be saved further.

    python scripts/benchmark.py                                     # Stable Diffusion 1.5, random weights
    python scripts/benchmark.py base=weights/mini resolution=64     # the miniature
    python scripts/benchmark.py arms=[example,half,fused] batch=[8,64] rounds=3 counts=true

Weights are random and no pictures are read: time and memory do not depend on them. `example` is the step of diffusers'
text-to-image LoRA script, with autoencoder and text encoder in the loop.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.tools.benchmark.options import BenchmarkConfig


def main(config: BenchmarkConfig) -> int:
    from emote.tools.benchmark.run import benchmark  # late: `--help` is instant

    return benchmark(config)


if __name__ == "__main__":
    sys.exit(run_script(BenchmarkConfig, main, __doc__, sys.argv[1:]))
