"""StableEmote: fine-tune Stable Diffusion with LoRA on emoji art."""

__version__ = "0.1.0"
