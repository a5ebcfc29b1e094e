"""Say what images with an adapter show: recognised, in style, copied, usable; beside the base model's, with intervals.

    emote evaluate run=quickstart                      # one run, against its base model
    emote evaluate runs=[quickstart,other,style.safetensors] prompts=400
    emote evaluate run=latest lora_scales=[0.5,0.75,1,1.25] guidance_scales=[3,6]

The same prompts and noise are drawn with the base model and each adapter; drawings are kept, so that the same words go
on where they were interrupted. The strength that is recommended is written beside each adapter, and whatever draws with
it uses that strength unless another is typed. What each figure means, and what it cannot see: docs/evaluation.md.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.experiments.evaluation.evaluate import main as evaluate
from emote.experiments.evaluation.options import EvaluateOptions

main = partial(run_command, EvaluateOptions, evaluate, __doc__)
