"""From a source of images with captions to cached latents: images, sources, split, cache, batches."""
