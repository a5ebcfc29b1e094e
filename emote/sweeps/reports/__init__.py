"""What a sweep found, as a page, as Markdown and as a few lines."""
