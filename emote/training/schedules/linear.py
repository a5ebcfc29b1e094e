"""A straight line down to zero over trainer.schedule_steps."""


def learning_rate_factor(progress: float) -> float:
    return 1.0 - progress
