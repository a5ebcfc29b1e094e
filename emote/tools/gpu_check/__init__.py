"""What only a GPU can show, checked with random weights."""
