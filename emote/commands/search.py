"""Search for what gives the lowest held-out loss: Optuna proposes, runs answer, hopeless ones are stopped early.

    emote search experiment=best hardware=t4 lora.rank=4,8,16 \\
        'trainer.learning_rate=tag(log, interval(3e-5, 1e-3))' trials=20
    emote search experiment=best twin=mini lora.rank=2,4,8 'lora.dropout=interval(0, 0.3)' trials=8

All words but the keys below are those of `emote train`; those with several values, range(…) or interval(…) are
searched. The same words go on where a search was stopped, and join it while it is under way: type them in two terminals
and two workers share the trials. A trial is an ordinary run, so what was computed before is not computed again. Needs
the extra `sweep`.
"""

from functools import partial

from emote.experiments.overrides import run_experiments
from emote.experiments.search import SearchOptions, search

main = partial(run_experiments, SearchOptions, search, __doc__)
