"""Run an experiment, and compare what it measures with what was reported and with other experiments.

    emote reproduce experiment=reported                        # on a GPU, as it was reported
    emote reproduce experiment=reported twin=mini              # the miniature twin, on a CPU
    emote reproduce experiment=stable_emote twin=mini against=reported

All words but the keys below are those of `emote train`. The tables (reported / measured / difference; held-out losses,
paired, with an interval) are printed, and written as reproduction.md and reproduction.json beside the deliverables of
the run. What is finished already is not run again.
"""

from functools import partial

from emote.experiments.overrides import run_experiments
from emote.experiments.reproduce import ReproduceOptions, reproduce

main = partial(run_experiments, ReproduceOptions, reproduce, __doc__)
