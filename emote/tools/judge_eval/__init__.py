"""What the picture judge can see, and what it cannot: measured on real art that it never saw."""
