"""What turns gradients into updates: one file an optimizer."""
