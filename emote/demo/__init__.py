"""The demo: draw, compare, cut out and pack in a browser."""
