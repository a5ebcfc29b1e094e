"""Whole experiments: run them, and compare them with what was reported and with each other."""
