"""How much each noise level counts in the loss: one file a weighting."""
