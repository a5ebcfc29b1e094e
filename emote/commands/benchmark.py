"""Time a training step, or drawing: as others make it, as it is made here, and with what could be saved further.

    emote benchmark                                      # Stable Diffusion 1.5, random weights
    emote benchmark model=weights/mini resolution=128    # the miniature
    emote benchmark arms=[example,half,fused] batch_size=[8,64] rounds=3 counts=true
    emote benchmark model=weights/mini resolution=128 arms=[draw_stock,draw,draw_fast] batch_size=[1,8] rounds=3

In training weights are random and no images are read: time and memory do not depend on them. `example` is the step of
diffusers' text-to-image LoRA script, with autoencoder and text encoder in the loop. Drawing takes the model's weights.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.benchmark.options import BenchmarkConfig


def _benchmark(config: BenchmarkConfig) -> int:
    from emote.tools.benchmark.run import benchmark  # late: `--help` is instant

    return benchmark(config)


main = partial(run_command, BenchmarkConfig, _benchmark, __doc__)
