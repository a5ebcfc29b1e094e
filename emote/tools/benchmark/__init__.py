"""Time and memory of a training step: a reference that does what others do, and what each of our savings adds."""
