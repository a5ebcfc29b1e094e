"""Compare ways to train, each against what it replaces, with intervals."""
