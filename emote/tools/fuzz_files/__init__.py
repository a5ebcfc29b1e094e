"""Damaged files of each kind that people bring, and what must hold of each: one module a kind."""
