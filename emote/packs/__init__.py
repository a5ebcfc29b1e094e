"""From pictures to packs of emoji that chat platforms take."""
