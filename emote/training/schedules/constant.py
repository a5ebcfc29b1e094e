"""The same learning rate throughout, after the warm-up. A run can be continued with more steps."""


def learning_rate_factor(progress: float) -> float:
    return 1.0
