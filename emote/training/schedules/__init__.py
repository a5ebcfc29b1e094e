"""How the learning rate goes over a run: one file a schedule."""
