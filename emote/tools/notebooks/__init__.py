"""The notebooks in `notebooks/`, made from scripts that can be read and compared line by line."""
