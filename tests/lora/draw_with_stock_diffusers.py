"""Load adapter files with diffusers alone, of whatever release this Python has, and save what the UNet predicts.

Arguments: the base model's directory, the safetensors file to write (one tensor an adapter), and the adapter files.
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

base, output, *adapters = map(Path, sys.argv[1:])
torch.set_num_threads(1)
pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
generator = torch.Generator().manual_seed(7)
latents, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 6, 16, generator=generator)
predictions = {}
for adapter in adapters:
    pipeline.load_lora_weights(str(adapter.parent), weight_name=adapter.name)
    with torch.no_grad():
        predictions[str(adapter)] = pipeline.unet(latents, torch.tensor([10, 700]), context).sample
    pipeline.unload_lora_weights()
save_file(predictions, output)
