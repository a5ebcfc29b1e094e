"""Fine-tune on emoji art: `python train.py --help` explains everything."""

import sys

from emote.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
