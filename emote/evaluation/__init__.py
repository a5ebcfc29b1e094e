"""Numbers and plots that say what a run did."""
