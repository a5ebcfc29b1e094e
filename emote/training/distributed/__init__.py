"""One run on several devices: processes, their group, and what the others do."""
