"""How the miniature (`model=mini`) is made: a small Stable Diffusion, trained from scratch on emoji art."""
