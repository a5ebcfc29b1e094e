"""What happens around the steps. Order matters: validation fills the step's row, metrics write it, checkpoint saves."""
