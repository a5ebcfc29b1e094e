"""Write notebooks/*.ipynb from notebooks/source/*.py.

python scripts/make_notebooks.py                    # after a change of words: outputs of unchanged cells are kept
python scripts/make_notebooks.py execute=true       # run them; inference draws with the newest run in runs/
python scripts/make_notebooks.py only=inference execute=true
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.tools.notebooks.make import Options, make

if __name__ == "__main__":
    sys.exit(run_script(Options, make, __doc__, sys.argv[1:]))
