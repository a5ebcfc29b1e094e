"""What training lowers, for each sample: one file an objective."""
