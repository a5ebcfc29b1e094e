"""From the run as reported to what is recommended today, one change at a time: what does each give?

    python scripts/ablation.py twin=mini                               # on the miniature
    python scripts/ablation.py twin=mini output=docs/ablation          # where the table and the plot go
    python scripts/ablation.py twin=mini seeds=[42] trainer.max_steps=20   # a first look

The steps stand in conf/ablation.yaml. All words but the keys below are those of train.py. Interrupted at any moment,
the same words go on where it stopped; more steps or more seeds cost only what is new.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.experiments.ablate import AblationOptions, ablate
from emote.experiments.overrides import run_experiments

if __name__ == "__main__":
    sys.exit(run_experiments(AblationOptions, ablate, __doc__, sys.argv[1:]))
