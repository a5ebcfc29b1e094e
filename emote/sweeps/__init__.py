"""Sweeps: several jobs in an order in which nothing is computed twice, and the report that is their answer."""
