"""The maths of latent diffusion: the training objective, the samplers, and drawing."""
