"""From a source of pictures with captions to cached latents: images, sources, split, cache, batches."""
