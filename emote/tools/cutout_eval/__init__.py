"""How well figures are cut out, measured on art whose transparency is known."""
