"""Images in, images out: cut out, fit, lay out as sheets."""
