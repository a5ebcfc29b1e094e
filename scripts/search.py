"""Search for what gives the lowest held-out loss: Optuna proposes, runs answer, hopeless ones are stopped early.

    python scripts/search.py experiment=best hardware=t4 lora.rank=4,8,16 \\
        'trainer.learning_rate=tag(log, interval(3e-5, 1e-3))' trials=20
    python scripts/search.py experiment=best twin=mini lora.rank=2,4,8 'lora.dropout=interval(0, 0.3)' trials=8

All words but the keys below are those of train.py; those with several values, range(…) or interval(…) are searched.
The same words go on where a search was stopped, and join it while it is under way: say them in two terminals and two
workers share the trials. A trial is an ordinary run, so what was computed before is not computed again. Needs the
extra `sweep`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.experiments.overrides import run_experiments
from emote.experiments.search import SearchOptions, search

if __name__ == "__main__":
    sys.exit(run_experiments(SearchOptions, search, __doc__, sys.argv[1:]))
