"""What is wrong with a command line, all of it at once, before anything is composed or loaded."""
