"""Train an adapter, or a sweep of them; `python train.py` is the same."""

from emote.cli.train import main as main
