"""What is inside a Stable Diffusion, made visible."""
