"""From images to packs of emoji that chat platforms take."""
