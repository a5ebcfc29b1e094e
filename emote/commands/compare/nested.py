"""Does one run with nested ranks tell what five separate runs do? Both ways to nest, against ranks trained one by one.

    emote compare nested                                        # the quickstart's recipe: 7 runs for each of 3 seeds
    emote compare nested trainer.max_steps=150 output=docs/nested
    emote compare nested ranks=[1,4] seeds=[42] trainer.max_steps=10   # a first look

All words but the keys below are those of `emote train`. Every adapter is scored in float32 on one base, at the same
held-out images and noise. Interrupted at any moment, the same words go on where it stopped.
"""

from functools import partial

from emote.experiments.comparison.nested import NestedOptions
from emote.experiments.comparison.nested_run import compare_nested
from emote.experiments.overrides import run_experiments

main = partial(run_experiments, NestedOptions, compare_nested, __doc__)
