"""The words of the commands: read, explained, and those of `emote train` checked against the schema all at once.

Hydra composes; what it accepts silently (`+new.key=1`, `~model`) or reports one mistake at a time is checked before.
"""
