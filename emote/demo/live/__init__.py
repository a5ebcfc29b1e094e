"""Drawing while one types."""
