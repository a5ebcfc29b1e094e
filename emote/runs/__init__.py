"""A run's folder on disk: its name and identity, lock, metrics and listing."""
