"""Run an experiment, and compare what it measures with what was reported and with other experiments.

    python scripts/reproduce.py experiment=reported                        # on a GPU, as it was reported
    python scripts/reproduce.py experiment=reported twin=mini              # the miniature twin, on a CPU
    python scripts/reproduce.py experiment=stable_emote twin=mini against=reported

All words but the keys below are those of train.py. The tables (reported / measured / difference; held-out losses,
paired, with an interval) are printed, and written as reproduction.md and reproduction.json beside the deliverables of
the run. What is finished already is not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.experiments.overrides import run_experiments
from emote.experiments.reproduce import ReproduceOptions, reproduce

if __name__ == "__main__":
    sys.exit(run_experiments(ReproduceOptions, reproduce, __doc__, sys.argv[1:]))
