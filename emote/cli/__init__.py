"""The words after `python train.py`: explained, checked against the schema all at once, then run.

Hydra composes and launches; what it accepts silently (`+new.key=1`, `~model`) or reports one mistake at a time is
checked here before.
"""

from emote.cli.train import compose_config, main

__all__ = ["compose_config", "main"]
