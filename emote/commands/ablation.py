"""From the run as reported to what is recommended today, one change at a time: what does each give?

    emote ablation twin=mini                               # on the miniature
    emote ablation twin=mini output=docs/ablation          # where the table and the plot go
    emote ablation twin=mini images=96                     # and what one sees: drawn, judged, a sheet
    emote ablation twin=mini seeds=[42] trainer.max_steps=20   # a first look

The steps stand in conf/ablation.yaml. All words but the keys below are those of `emote train`. Interrupted at any
moment, the same words go on where it stopped; more steps or more seeds cost only what is new.
"""

from functools import partial

from emote.experiments.ablate import AblationOptions, ablate
from emote.experiments.overrides import run_experiments

main = partial(run_experiments, AblationOptions, ablate, __doc__)
