"""Train the miniature from scratch on OpenMoji and Twemoji, and write it in diffusers format.

    emote tools pretrain-mini output=weights/mini
    emote tools pretrain-mini unet_steps=40000      # longer
    emote tools pretrain-mini vae_from=weights/mini # keep its autoencoder, train the rest

Interrupted at any moment, the same command goes on where it stopped. About 4 hours on 2 CPU cores.
"""

from emote.tools.pretraining.make import main as main
