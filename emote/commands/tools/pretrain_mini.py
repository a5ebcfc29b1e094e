"""Train the miniature from scratch on emoji art in three styles, and write it in diffusers format.

    npm pack @iconify-json/noto @iconify-json/fluent-emoji-flat @iconify-json/noto-v1 @iconify-json/emojione
    emote tools pretrain-mini noto=… fluent=… blob=… emojione=…     # the four .tgz; packed once
    emote tools pretrain-mini device=cuda minutes=8                 # all of it on a GPU, in minutes
    emote tools pretrain-mini device=cuda minutes=8 bundle=out      # only the files; then, anywhere:
    emote tools pretrain-mini unpack=out output=weights/mini
    emote tools pretrain-mini refine=out bundle=out2 minutes=30     # the decoder alone, a little further

Interrupted at any moment, the same command goes on where it stopped.
"""

from emote.tools.pretraining.make import main as main
