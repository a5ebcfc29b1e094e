"""What leaves the machine: files for other tools, and the Hub."""
