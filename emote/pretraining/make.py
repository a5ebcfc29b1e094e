"""All stages in order."""

from __future__ import annotations

from pathlib import Path


def main(arguments: list[str]) -> int:
    options = {"output": "weights/mini", "work": ".cache/pretrain_mini", "seed": "0",
               "vae_steps": "5000", "tower_steps": "1500", "unet_steps": "20000"}  # fmt: skip
    options.update(argument.split("=", 1) for argument in arguments)

    from emote.pretraining.art_set import load_art
    from emote.pretraining.towers import make_tokenizer, train_towers
    from emote.pretraining.unet import train_unet
    from emote.pretraining.vae import train_vae

    work, seed = Path(options["work"]), int(options["seed"])
    art = load_art(work)
    vae = train_vae(art, work, int(options["vae_steps"]), seed)
    tokenizer = make_tokenizer(work / "tokenizer")
    clip = train_towers(art, tokenizer, work, int(options["tower_steps"]), seed)
    train_unet(art, vae, clip.text_model, tokenizer, work, int(options["unet_steps"]), seed)
    return 0
