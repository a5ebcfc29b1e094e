"""What every part uses: files, console, progress, text."""
