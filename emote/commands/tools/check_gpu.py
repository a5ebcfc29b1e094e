"""Check on this machine's GPU what no CPU can show, and write it down.

    emote tools check-gpu                      # fp16 with loss scaling, as on a T4
    emote tools check-gpu precision=bf16 output=docs/gpu.md

Trains Stable Diffusion 1.5 with random weights for 200 steps of 8 images at 256 px, through the real trainer and
under a cap of 15 GB: finite losses, peak of memory, attention kernel, seconds a step, and the estimates beside them.
No weights or images are needed; under 10 minutes. Exit code 1 where something did not hold, 2 without a GPU.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.tools.gpu_check.check import check_gpu
from emote.tools.gpu_check.findings import CheckConfig

main = partial(run_command, CheckConfig, check_gpu, __doc__)
