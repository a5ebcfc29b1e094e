"""Time a training step: as others make it, as training makes it here, and with what could be saved further.

    emote benchmark                                      # Stable Diffusion 1.5, random weights
    emote benchmark model=weights/mini resolution=128    # the miniature
    emote benchmark arms=[example,half,fused] batch_size=[8,64] rounds=3 counts=true

Weights are random and no images are read: time and memory do not depend on them. `example` is the step of diffusers'
text-to-image LoRA script, with autoencoder and text encoder in the loop.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.benchmark.options import BenchmarkConfig


def _benchmark(config: BenchmarkConfig) -> int:
    from emote.tools.benchmark.run import benchmark  # late: `--help` is instant

    return benchmark(config)


main = partial(run_command, BenchmarkConfig, _benchmark, __doc__)
