"""This process: the jobs of a sweep one after the other, launched by Hydra. The base model is loaded once."""

KEYS: tuple[str, ...] = ()
