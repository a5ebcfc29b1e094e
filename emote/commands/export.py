"""Say what an adapter file is, or turn it into something else.

emote export run=style.safetensors                                  # what is it, and is it usable?
emote export run=quickstart to=kohya output=quickstart.safetensors  # for ComfyUI and A1111
emote export run=style.safetensors to=diffusers output=style        # a directory
emote export run=quickstart to=kohya rank=4 dtype=fp16 output=small.safetensors
emote export "run=[quickstart:0.8, other:0.4]" to=kohya rank=16 output=mix.safetensors   # two as one
emote export run=quickstart to=fuse output=merged                   # a model in diffusers' layout
emote export run=quickstart to=fuse dtype=fp16 output=merged.safetensors
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.inference.export import Export, export

main = partial(run_command, Export, export, __doc__)
