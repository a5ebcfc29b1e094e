"""All stages in order: tokenizer, towers, judge, autoencoder, denoiser, figures, publication."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULTS = {
    "art": ".cache/pretrain_mini/art.json.xz",  # the packed art; packed there if it is not
    "noto": "", "fluent": "", "blob": "", "emojione": "",  # npm packages, folders or .tgz, where the art is packed
    "keywords": "",  # `en/data.json` of npm's emojibase-data, where the art is packed
    "output": "weights/mini",
    "bundle": "",  # a folder for the files that training leaves; with it nothing is published here
    "unpack": "",  # such a folder, to publish without training
    "early_share": "0",  # of the weights of the lowest held-out loss, mixed into the UNet's where it is published
    "refine": "",  # a published miniature: only the decoder of its autoencoder is trained further, into `output`
    "work": ".cache/pretrain_mini",
    "seed": "0",
    "device": "cpu",
    "precision": "auto",  # of forward and backward: bfloat16 or float32; auto is bfloat16 on GPUs
    "thin": "1",  # 20 takes the drawings of every 20th name alone, to try things out
    "workers": "0",  # processes that rasterise; 0 is one a core
    "minutes": "0",  # for all of it; 0 trains by steps
    "started": "0",  # seconds since 1970 from which the minutes count; 0 is now
    "tower_steps": "6000", "judge_steps": "10000", "vae_steps": "8000", "unet_steps": "60000",
    "decoder_steps": "1000",  # where `refine` is set
    "tower_batch": "0", "judge_batch": "0", "vae_batch": "0", "unet_batch": "0",  # 0 is by device
    "compile": "auto",  # the UNet's training step; auto is on GPUs, where a trial shows that it pays
    "drawings": "0",  # that the judge looks at in the end; 0 is one for each name
    "note": "",  # a sentence for the card, of what the figures there do not tell
}  # fmt: skip
SHARES = {"towers": 0.11, "judge": 0.19, "vae": 0.24, "unet": 0.46}  # of the minutes that training has
RESERVE_SECONDS = 40.0  # of the minutes, for figures and pictures in the end
BATCHES = {"cuda": {"towers": 512, "judge": 512, "vae": 32, "unet": 1024},
           "cpu": {"towers": 128, "judge": 64, "vae": 8, "unet": 32}}  # fmt: skip
DECODER_RATE = 4e-4  # it starts from trained weights
RATES = {"cuda": {"towers": 1.5e-3, "judge": 1.5e-3, "vae": 1.5e-3, "unet": 1.2e-3},
         "cpu": {"towers": 1e-3, "judge": 1e-3, "vae": 1e-3, "unet": 8e-4}}  # fmt: skip


@dataclass
class Clock:
    """How long each stage may train: by steps, or its share of the time that is left until the deadline."""

    deadline: float | None  # of time.time()
    steps: dict[str, int]

    def span(self, stage: str) -> Any:
        from emote.tools.pretraining.loop import Span

        if self.deadline is None:
            return Span(steps=self.steps[stage])
        stages = list(SHARES)
        rest = sum(SHARES[later] for later in stages[stages.index(stage) :])
        left = self.deadline - RESERVE_SECONDS - time.time()
        return Span(seconds=max(1.0, left * SHARES[stage] / rest))

    def left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.time()


def main(arguments: list[str]) -> int:
    unknown = [argument for argument in arguments if argument.partition("=")[0] not in DEFAULTS]
    if unknown or "--help" in arguments:
        print(
            f"keys are {', '.join(f'{k}={v}' for k, v in DEFAULTS.items())}; got {' '.join(unknown)}", file=sys.stderr
        )
        return 2
    options = DEFAULTS | dict(argument.split("=", 1) for argument in arguments)
    work = Path(options["work"])
    if options["unpack"]:
        from emote.tools.pretraining.publish import publish_bundle

        publish_bundle(Path(options["unpack"]), work / "parts", Path(options["output"]), options["note"],
                       float(options["early_share"]))  # fmt: skip
    elif options["refine"]:
        refine(options, work, Path(options["output"]))
    else:
        bundle = Path(options["bundle"] or work / "bundle")
        train(options, work, bundle)
        if not options["bundle"]:
            from emote.tools.pretraining.publish import publish_bundle

            publish_bundle(bundle, work / "parts", Path(options["output"]), options["note"])
    print(f"written to {options['output'] if options['refine'] or not options['bundle'] else options['bundle']}")
    return 0


def train(options: dict[str, str], work: Path, bundle: Path) -> None:
    """Train all parts and write the bundle: each part as soon as it is there, figures at every stage's end."""
    started = float(options["started"]) or time.time()
    minutes = float(options["minutes"])
    deadline = started + 60 * minutes if minutes else None
    stages = {"towers": "tower", "judge": "judge", "vae": "vae", "unet": "unet"}
    clock = Clock(deadline, {stage: int(options[f"{key}_steps"]) for stage, key in stages.items()})

    from emote.tools.pretraining.art_pack import read_art_pack, thin_out
    from emote.tools.pretraining.art_set import load_art
    from emote.tools.pretraining.wordings import SUBJECTS

    pack_path = Path(options["art"])
    if not pack_path.exists():
        pack_art(options, pack_path)
    # before anything touches the device: the processes that rasterise are forks
    pack = thin_out(read_art_pack(pack_path), int(options["thin"]), besides=SUBJECTS)
    store = None if deadline else work  # a run of minutes is not resumed
    art = load_art(pack, store, int(options["workers"]) or os.cpu_count() or 1)
    print(f"{len(art.name_N)} drawings after {time.time() - started:.0f} s", flush=True)

    import torch

    from emote.tools.pretraining import measure
    from emote.tools.pretraining.captions import build_captions, make_tokenizer
    from emote.tools.pretraining.compiled import compile_forward, pays, start_trial
    from emote.tools.pretraining.parts import EARLY, round_to_half, save_part, write_bundle
    from emote.tools.pretraining.towers import build_judge, build_towers, train_pair
    from emote.tools.pretraining.unet import train_unet
    from emote.tools.pretraining.vae import train_vae
    from emote.util.files import write_json

    device = torch.device(options["device"])
    kind = device.type if device.type in BATCHES else "cpu"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.cuda.init()
    dtype = choose_precision(options["precision"], device)
    dtypes = list(dict.fromkeys([dtype, torch.float32]))
    seed = int(options["seed"])
    parts = work / "parts"
    batch = {stage: int(options[f"{key}_batch"]) or BATCHES[kind][stage] for stage, key in stages.items()}
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    facts: dict[str, Any] = {"seed": seed, "device": device_name, "precision": str(dtype), "stages": {},
                             "sets": art.sets, "drawings": len(art.name_N),
                             "held_out": int(art.held_out_N.sum())}  # fmt: skip

    def keep(stage: str, fitted: Any, **more: Any) -> None:
        facts["stages"][stage] = {"steps": fitted.steps, "samples": fitted.samples, "batch": batch[stage],
                                  "seconds": round(fitted.seconds, 1), "curve": fitted.curve, **more}  # fmt: skip
        write_bundle(parts, bundle)
        write_json(bundle / "curves.json", facts)
        print(f"== {stage} done, {time.time() - started:.0f} s since the start", flush=True)

    art = art.to(device)
    tokenizer = make_tokenizer(parts / "tokenizer", art.wordings)
    captions = build_captions(art, tokenizer).to(device)
    facts["vocabulary"] = len(tokenizer)
    print(f"{len(captions.ids_CT)} captions after {time.time() - started:.0f} s", flush=True)

    wanted = options["compile"] == "true" or (options["compile"] == "auto" and device.type == "cuda")
    trial = start_trial(work / "compiled.json", str(device), dtype, batch["unet"]) if wanted else None

    torch.manual_seed(seed)
    towers = build_towers(tokenizer).to(device)
    fitted = first_that_works(
        lambda kind_: train_pair(
            "towers", towers, art, captions, names_style=True, span=clock.span("towers"), batch=batch["towers"],
            learning_rate=RATES[kind]["towers"], work=work, seed=seed, dtype=kind_,
        ),
        dtypes,
    )  # fmt: skip
    round_to_half(towers)
    save_part(parts / "text.safetensors", towers.text.state_dict())
    vision = {**towers.vision.state_dict(), "logit_scale": towers.logit_scale}
    save_part(parts / "vision.safetensors", vision)
    keep("towers", fitted)

    def make_judge() -> None:
        fitted = first_that_works(
            lambda kind_: train_pair(
                "judge", judge, art, captions, names_style=False, span=clock.span("judge"), batch=batch["judge"],
                learning_rate=RATES[kind]["judge"], work=work, seed=seed + 1000, dtype=kind_,
            ),
            dtypes,
        )  # fmt: skip
        round_to_half(judge)
        save_part(parts / "judge_text.safetensors", judge.text.state_dict())
        save_part(parts / "judge_vision.safetensors", {**judge.vision.state_dict(), "logit_scale": judge.logit_scale})
        keep("judge", fitted)

    torch.manual_seed(seed + 1000)  # the judge shares nothing with the towers but the data
    judge = build_judge(tokenizer).to(device)
    guarded(facts, "judge_training", make_judge)

    vae, fitted = first_that_works(
        lambda kind_: train_vae(
            art, span=clock.span("vae"), batch=batch["vae"], learning_rate=RATES[kind]["vae"], work=work, seed=seed,
            dtype=kind_,
        ),
        dtypes,
    )  # fmt: skip
    round_to_half(vae)
    save_part(parts / "vae.safetensors", vae.state_dict())
    keep("vae", fitted)
    guarded(facts, "vae", lambda: measure.measure_vae(vae, art))
    guarded(facts, "vae_picture", lambda: measure.save_image(measure.compare_reconstructions(vae, art),
                                                             bundle / "vae.png"))  # fmt: skip

    wrap = None
    if trial is not None:
        faster, facts["compiled"] = pays(work / "compiled.json", trial)
        wrap = compile_forward if faster else None
        print(f"compiled UNet: {'used' if faster else 'not used'}, {facts['compiled']}", flush=True)

    losses: list[float] = []

    def on_average(state: dict[str, torch.Tensor], row: dict[str, float]) -> None:
        save_part(parts / "unet.safetensors", state)
        losses.append(row.get("held_out", 0.0))
        if losses[-1] == min(losses):
            save_part(parts / EARLY, state)
        write_bundle(parts, bundle)

    unet, fitted, best = first_that_works(
        lambda way: train_unet(
            art, captions, vae, towers.text, span=clock.span("unet"), batch=batch["unet"],
            learning_rate=RATES[kind]["unet"], work=work, seed=seed, dtype=way[0], wrap=way[1], on_average=on_average,
        ),
        [(dtype, wrap), *((other, None) for other in dtypes[0 if wrap else 1 :])],
    )  # fmt: skip
    round_to_half(unet)
    save_part(parts / "unet.safetensors", unet.state_dict())
    keep("unet", fitted, chosen=best)

    models = {"unet": unet, "vae": vae, "text": towers.text, "vision": towers.vision, "judge": judge}
    facts["parameters"] = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    limit = int(options["drawings"]) or None
    for key, compute in {
        "sheet": lambda: measure.save_image(
            measure.draw_sheet(unet, vae, towers.text, tokenizer), bundle / "sheet.png"
        ),
        "judge": lambda: measure.measure_pair(judge, art, captions),
        "towers": lambda: measure.measure_pair(towers, art, captions),
        "judged": lambda: measure.measure_drawings(unet, vae, towers.text, judge, art, captions, limit=limit),
    }.items():
        if clock.left() > 5:
            guarded(facts, key, compute)
            write_json(bundle / "curves.json", facts)
    print(f"== all done, {time.time() - started:.0f} s since the start", flush=True)


def refine(options: dict[str, str], work: Path, output: Path) -> None:
    """Train the decoder of a published miniature's autoencoder further; all other parts stay as they are."""
    from emote.tools.pretraining.art_pack import read_art_pack, thin_out
    from emote.tools.pretraining.art_set import load_art
    from emote.tools.pretraining.wordings import SUBJECTS

    source = Path(options["refine"])
    facts = json.loads((source / "metrics.json").read_text(encoding="utf-8"))
    if not Path(options["art"]).exists():
        pack_art(options, Path(options["art"]))
    pack = thin_out(read_art_pack(Path(options["art"])), int(options["thin"]), besides=SUBJECTS)
    art = load_art(pack, work, int(options["workers"]) or os.cpu_count() or 1)

    import torch
    from diffusers import AutoencoderKL

    from emote.tools.pretraining import measure
    from emote.tools.pretraining.loop import Span
    from emote.tools.pretraining.parts import round_to_half
    from emote.tools.pretraining.publish import replace_decoder
    from emote.tools.pretraining.vae import train_decoder

    device = torch.device(options["device"])
    minutes = float(options["minutes"])
    span = Span(seconds=60 * minutes) if minutes else Span(steps=int(options["decoder_steps"]))
    batch = int(options["vae_batch"]) or BATCHES[device.type]["vae"]
    vae = AutoencoderKL.from_pretrained(source / "vae").float().to(device)
    art = art.to(device)
    fitted = train_decoder(vae, art, span=span, batch=batch, learning_rate=DECODER_RATE, work=work,
                           seed=int(options["seed"]), dtype=choose_precision(options["precision"], device))  # fmt: skip
    round_to_half(vae)
    before = facts["vae"]["mae"]
    facts["stages"]["vae_decoder"] = {"steps": fitted.steps, "samples": fitted.samples, "batch": batch,
                                      "seconds": round(fitted.seconds, 1), "curve": fitted.curve,
                                      "device": device.type, "mae_before": before}  # fmt: skip
    facts["vae"] = measure.measure_vae(vae, art)
    print(f"mean absolute error before {before}, after {facts['vae']['mae']}", flush=True)
    replace_decoder(source, output, vae.cpu(), facts, measure.compare_reconstructions(vae, art.to(torch.device("cpu"))))


def choose_precision(precision: str, device: Any) -> Any:
    """The torch type of forward and backward; `auto` is bfloat16 on GPUs and float32 elsewhere."""
    import torch

    return {"auto": torch.bfloat16 if device.type == "cuda" else torch.float32,
            "bfloat16": torch.bfloat16, "float32": torch.float32}[precision]  # fmt: skip


def first_that_works(train: Any, ways: list[Any]) -> Any:
    """Train in the first way that raises nothing: a kernel that a machine lacks costs its speed and not the stage."""
    import traceback

    for way in ways[:-1]:
        try:
            return train(way)
        except Exception:  # whatever it is, the next way does the same more plainly
            traceback.print_exc()
            print(f"failed with {way}; trying {ways[ways.index(way) + 1]}", flush=True)
    return train(ways[-1])


def guarded(facts: dict[str, Any], key: str, compute: Any) -> None:
    """Compute a figure or picture; a failure is recorded and printed, and loses no weights."""
    import traceback

    began = time.time()
    try:
        value = compute()
        if value is not None:
            facts[key] = value
            print(f"{key}: {value}", flush=True)
    except Exception as error:  # whatever it is, the weights are there and the rest shall go on
        facts[key] = f"failed: {type(error).__name__}: {error}"
        traceback.print_exc()
    print(f"{key} took {time.time() - began:.1f} s", flush=True)


def pack_art(options: dict[str, str], path: Path) -> None:
    """Collect the art from the named packages. Raises SystemExit that says which package to fetch."""
    from emote.tools.pretraining.art_pack import ICON_SETS, collect_art, write_art_pack

    missing = [f"{style}=<npm pack @iconify-json/{ICON_SETS[style]}>" for style in ICON_SETS if not options[style]]
    if missing:
        raise SystemExit(f"{path} is not there yet; to pack it, set {' '.join(missing)}")
    keywords = Path(options["keywords"]) if options["keywords"] else None
    write_art_pack(path, collect_art({style: Path(options[style]) for style in ICON_SETS}, keywords))
