"""The commands of `emote`, one a file: its docstring is its help, `main` takes the words after its name."""
