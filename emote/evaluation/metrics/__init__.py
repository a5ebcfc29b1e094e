"""What is measured on the held-out losses beside their mean: one file a metric."""
