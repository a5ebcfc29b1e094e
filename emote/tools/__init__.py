"""What maintainers and the curious run: pre-training, GPU check, notebooks, images of the inside."""
