"""Recipes that differ in a row each, with the same seeds, images and noise: nested ranks, and what people ask for."""
