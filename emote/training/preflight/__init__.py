"""What a run will take, counted from the configuration before a weight is read; and whether it can be had here."""
