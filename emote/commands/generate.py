"""Draw images with a run's adapter, an adapter file or the base model.

    emote generate prompts="[a fairy]"                         # four, with the newest run
    emote generate run=quickstart prompts="[a fairy]" n=4 seed=7
    emote generate run=quickstart prompts=ideas.txt compare=true   # a text file with a prompt a line
    emote generate run=owner/name prompts="[a fairy]" "lora_scales=[0.5, 1, 1.5]"
    emote generate model=sd15 prompts="[an emoji of a fairy]"  # the base model alone
    emote generate from_image=generated/001-a-fairy/a-fairy-seed7.png

The same seed gives the same image. Each PNG holds its prompt and settings in the form that A1111 writes and reads;
from_image= draws it again from them. Mistakes end with exit code 2, an image that came out as none with 1.
"""

from functools import partial

from emote.cli.keywords import run_command
from emote.inference.job import generate
from emote.inference.options import Options

main = partial(run_command, Options, generate, __doc__)
