"""All stages in order: autoencoder, tokenizer, towers, denoiser, publication."""

from __future__ import annotations

import sys
from pathlib import Path

DEFAULTS = {
    "output": "weights/mini",
    "work": ".cache/pretrain_mini",
    "seed": "0",
    "vae_from": "",  # a published miniature whose autoencoder is taken over instead of training one
    "vae_steps": "2800",
    "tower_steps": "2200",
    "unet_steps": "20000",
    "note": "",  # a sentence for the card, of what the figures there do not tell
}


def main(arguments: list[str]) -> int:
    unknown = [argument for argument in arguments if argument.partition("=")[0] not in DEFAULTS]
    if unknown or "--help" in arguments:
        print(
            f"keys are {', '.join(f'{k}={v}' for k, v in DEFAULTS.items())}; got {' '.join(unknown)}", file=sys.stderr
        )
        return 2
    options = DEFAULTS | dict(argument.split("=", 1) for argument in arguments)

    from emote.runs.environment import device_name
    from emote.tools.pretraining.art_set import load_art
    from emote.tools.pretraining.publish import join_facts, measure, publish, read_facts, take_vae
    from emote.tools.pretraining.towers import make_tokenizer, train_towers
    from emote.tools.pretraining.unet import train_unet
    from emote.tools.pretraining.vae import train_vae

    work, seed = Path(options["work"]), int(options["seed"])
    art = load_art(work)
    if options["vae_from"]:
        vae, vae_facts = take_vae(Path(options["vae_from"]))
    else:
        vae, vae_facts = train_vae(art, work, int(options["vae_steps"]), seed), read_facts(work, ["vae"])
    tokenizer = make_tokenizer(work / "tokenizer")
    clip = train_towers(art, tokenizer, work, int(options["tower_steps"]), seed)
    unet = train_unet(art, vae, clip.text_model, tokenizer, work, int(options["unet_steps"]), seed)
    parts = {"vae": vae, "text_encoder": clip.text_model, "unet": unet, "vision": clip.vision_model}
    import torch

    facts = {
        **join_facts(vae_facts, read_facts(work, ["towers", "unet"])),
        **measure(art, vae, clip, tokenizer),
        "seed": seed,
        "note": options["note"],
        "device": device_name(torch.device("cpu")),
        "images": len(art.names),
        "held_out": int(art.held_out.sum()),
        "vocabulary": len(tokenizer),
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
    }
    publish(Path(options["output"]), vae, clip, tokenizer, unet, facts)
    print(f"written to {options['output']}")
    return 0
