"""`emote evaluate`: draw with the base and with adapters, measure, report."""
