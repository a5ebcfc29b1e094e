"""What maintainers and the curious run: pre-training, GPU check, notebooks, pictures of the inside."""
