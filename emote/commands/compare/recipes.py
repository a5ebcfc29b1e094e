"""Which of the options that people ask trainers for help? Each a row against one recipe, with an interval.

    emote compare recipes                                       # all stages of conf/recipes.yaml, on the miniature
    emote compare recipes stage=screen output=docs/recipes      # the first stage alone
    emote compare recipes stage=screen "rows=[Huber loss]" trainer.max_steps=20   # a first look

Rows are screened at few images; the best go on to small and whole sets of two styles; what is shown to help there is
confirmed on fresh seeds and another style. All words but the keys below are those of `emote train`. Interrupted at any
moment, the same words go on where it stopped.
"""

from functools import partial

from emote.experiments.comparison.recipes import RecipesOptions
from emote.experiments.comparison.recipes_run import compare_recipes
from emote.experiments.overrides import run_experiments

main = partial(run_experiments, RecipesOptions, compare_recipes, __doc__)
