"""What one sees in images: each measure a pure function, with intervals over concepts."""
