"""The keys of `emote pack`."""

from __future__ import annotations

from dataclasses import dataclass

from emote.config import Accelerator, Precision, key
from emote.inference.prompt_template import AUTO
from emote.packs.platforms import Platform


@dataclass
class PackOptions:
    platforms: list[Platform] = key("whom to pack for: slack, discord, telegram", default=list(Platform))
    prompts: list[str] = key("what to draw: [a fairy, a robot], or a text file, a prompt a line; left out: the run's",
                             default=[])  # fmt: skip
    images: str | None = key("pack the images in this folder instead of drawing", default=None)
    run: str | None = key("a run's name, identity or folder, latest, an adapter file, a Hub name; base: no adapter; "
                          "[a:0.8, b:0.4]: several by weight", default=None)  # fmt: skip
    model: str | None = key("base model: mini, sd15, a directory, a file or a Hub name; the run's own if left out",
                            default=None)  # fmt: skip
    template: str = key("auto: prompts go into the run's caption template; none: as typed; or a text with {text}",
                        default=AUTO)  # fmt: skip
    negative_prompt: str = key("what guidance leads away from", default="")
    n: int = key("images a prompt; all are packed, as fairy, fairy_2, …", at_least=1, default=1)
    seed: int = key("of the first image of a prompt; the next ones count up", at_least=0, default=0)
    inference_steps: int | None = key("as for `emote generate`", at_least=1, at_most=1000, default=None)
    guidance_scale: float | None = key("classifier-free guidance, 1 for none; the run's samples had theirs", at_least=0,
                                 default=None)  # fmt: skip
    scheduler: str | None = key("as for `emote generate`", default=None)
    lora_scale: float | None = key("strength of the adapter, 0 is the base model; the run's samples had theirs",
                                   default=None)  # fmt: skip
    background: str = key("what to cut out of: auto finds it, a CSS colour is taken exactly", default=AUTO)
    licence: str | None = key("for the manifest; left out: what is known of run and model", default=None)
    output: str | None = key("folder for the packs; left out: a new one in generated/", default=None)
    batch_size: int | None = key("images at once; left out: 4 on a GPU, 1 on a CPU", at_least=1, default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    cache_dir: str = key("where hashes of large models are remembered", default=".cache/emote")
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)
    precision: Precision = key("auto (fp16 on CUDA, else float32), float32, fp16 or bf16", default=Precision.auto)
