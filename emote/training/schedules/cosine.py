"""Half a cosine down to zero over trainer.schedule_steps (arXiv 1608.03983)."""

import math


def learning_rate_factor(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
