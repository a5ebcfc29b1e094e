"""What `emote <command>` calls: one module a command, each with `main(arguments)`."""
