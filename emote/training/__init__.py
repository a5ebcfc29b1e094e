"""Training: the LightningModule that wires model, data and objective; callbacks; and the run around them."""
